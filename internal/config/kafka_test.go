package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sr"
)

// certificate writes a self-signed certificate and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestKafkaOptionsCarryTheConfiguration(t *testing.T) {
	cert, key := certificate(t)
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			c, err := load(t, NeedKafka, map[string]string{
				"KAFKA_BROKERS": "a:9092,b:9092", "KAFKA_CA_FILE": cert, "KAFKA_CERT_FILE": cert, "KAFKA_KEY_FILE": key,
				"KAFKA_SASL_MECHANISM": mechanism, "KAFKA_SASL_USERNAME": "user", "KAFKA_SASL_PASSWORD": "pass",
			})
			if err != nil {
				t.Fatal(err)
			}
			opts, err := c.Kafka.Opts()
			if err != nil {
				t.Fatal(err)
			}
			cl, err := kgo.NewClient(opts...)
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			if got := cl.OptValue(kgo.SeedBrokers).([]string); !slices.Equal(got, []string{"a:9092", "b:9092"}) {
				t.Errorf("brokers %v", got)
			}
			if got := cl.OptValue(kgo.ClientID); got != "leverstream" {
				t.Errorf("client id %v", got)
			}
			if cl.OptValue(kgo.DialTLSConfig) == nil {
				t.Error("no TLS")
			}
			sasls := cl.OptValue(kgo.SASL).([]sasl.Mechanism)
			if len(sasls) != 1 || sasls[0].Name() != mechanism {
				t.Fatalf("SASL %v", sasls)
			}
			if _, first, err := sasls[0].Authenticate(t.Context(), "a:9092"); err != nil || !strings.Contains(string(first), "user") {
				t.Errorf("authenticate: %q, %v", first, err)
			}
		})
	}
}

func TestKafkaOptionsNameTheFileThatIsGone(t *testing.T) {
	t.Parallel()
	k := Kafka{TLS: true, CAFile: "/none/ca.pem"}
	if _, err := k.Opts(); err == nil || !strings.Contains(err.Error(), "KAFKA_CA_FILE") || !strings.Contains(err.Error(), "/none/ca.pem") {
		t.Errorf("got %v", err)
	}
}

func TestRegistryOptionsCarryTheConfiguration(t *testing.T) {
	cert, _ := certificate(t)
	c, err := load(t, NeedRegistry, map[string]string{
		"SCHEMA_REGISTRY_URL": "https://registry/path/", "SCHEMA_REGISTRY_USERNAME": "user", "SCHEMA_REGISTRY_PASSWORD": "pass",
		"SCHEMA_REGISTRY_CA_FILE": cert,
	})
	if err != nil {
		t.Fatal(err)
	}
	opts, err := c.Registry.Opts()
	if err != nil {
		t.Fatal(err)
	}
	cl, err := sr.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	if got := cl.OptValue(sr.URLs).([]string); !slices.Equal(got, []string{"https://registry/path"}) {
		t.Errorf("URLs %v", got)
	}
	if tls, err := c.Registry.TLSConfig(); err != nil || tls.RootCAs == nil {
		t.Errorf("TLS %v, %v", tls, err)
	}
	c.Registry.CAFile = "/none/ca.pem"
	if _, err := c.Registry.TLSConfig(); err == nil || !strings.Contains(err.Error(), "SCHEMA_REGISTRY_CA_FILE") {
		t.Errorf("got %v", err)
	}
}
