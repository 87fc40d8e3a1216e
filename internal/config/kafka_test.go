package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"net"
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
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
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
	for mechanism, more := range map[string]map[string]string{
		"PLAIN":         {"KAFKA_SASL_USERNAME": "user", "KAFKA_SASL_PASSWORD": "pass"},
		"SCRAM-SHA-256": {"KAFKA_SASL_USERNAME": "user", "KAFKA_SASL_PASSWORD": "pass"},
		"SCRAM-SHA-512": {"KAFKA_SASL_USERNAME": "user", "KAFKA_SASL_PASSWORD": "pass"},
		"OAUTHBEARER":   {"KAFKA_SASL_TOKEN": "user-token"},
		"AWS_MSK_IAM":   {"AWS_ACCESS_KEY_ID": "user-key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "session", "AWS_EC2_METADATA_DISABLED": "true"},
	} {
		t.Run(mechanism, func(t *testing.T) {
			vars := map[string]string{
				"KAFKA_BROKERS": "a:9092,b:9092", "KAFKA_CA_FILE": cert, "KAFKA_CERT_FILE": cert, "KAFKA_KEY_FILE": key,
				"KAFKA_SASL_MECHANISM": mechanism,
			}
			maps.Copy(vars, more)
			c, err := load(t, NeedKafka, vars)
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
			sasls := cl.OptValue(kgo.SASL).([]sasl.Mechanism)
			if len(sasls) != 1 || sasls[0].Name() != mechanism {
				t.Fatalf("SASL %v", sasls)
			}
			if _, first, err := sasls[0].Authenticate(t.Context(), "b-1.x.kafka.eu-west-1.amazonaws.com:9198"); err != nil || !strings.Contains(string(first), "user") {
				t.Errorf("authenticate: %q, %v", first, err)
			}
		})
	}
}

// A broker with one certificate after another: what is in the files counts for each new
// connection.
func TestFilesThatRotateArePickedUp(t *testing.T) {
	cert, key := certificate(t)
	trusted, token := filepath.Join(t.TempDir(), "ca.pem"), filepath.Join(t.TempDir(), "token")
	copyFile := func(from, to string) {
		t.Helper()
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	other, _ := certificate(t)
	copyFile(other, trusted)
	if err := os.WriteFile(token, []byte("first\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := load(t, NeedKafka, map[string]string{
		"KAFKA_BROKERS": "a:9092", "KAFKA_CA_FILE": trusted, "KAFKA_CERT_FILE": cert, "KAFKA_KEY_FILE": key,
		"KAFKA_SASL_MECHANISM": "OAUTHBEARER", "KAFKA_SASL_TOKEN_FILE": token,
	})
	if err != nil {
		t.Fatal(err)
	}
	mechanism, err := c.Kafka.sasl()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = conn.(*tls.Conn).Handshake(); _ = conn.Close() }()
		}
	}()
	connect := func() error {
		conn, err := c.Kafka.dial(t.Context(), "tcp", l.Addr().String())
		if err == nil {
			err = conn.Close()
		}
		return err
	}
	if err := connect(); err == nil {
		t.Error("a certificate that is not trusted was accepted")
	}
	copyFile(cert, trusted)
	if err := connect(); err != nil {
		t.Errorf("the replaced authority was not read: %v", err)
	}
	// The client's own certificate, and a password.
	for range 2 {
		next, nextKey := certificate(t)
		copyFile(next, cert)
		copyFile(nextKey, key)
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		if now, err := c.Kafka.tls(); err != nil || !slices.Equal(now.Certificates[0].Certificate[0], pair.Certificate[0]) {
			t.Errorf("the replaced certificate was not read: %v", err)
		}
	}
	plain, err := Kafka{SASLMechanism: "PLAIN", SASLUsername: "u", SASLPassword: FileSecret(token)}.sasl()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"old", "new"} {
		if err := os.WriteFile(token, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, first, err := plain.Authenticate(t.Context(), "a:9092"); err != nil || !strings.HasSuffix(string(first), want) {
			t.Errorf("the replaced password was not read: %v", err)
		}
	}
	for _, want := range []string{"first", "second"} {
		if err := os.WriteFile(token, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, first, err := mechanism.Authenticate(t.Context(), "a:9092"); err != nil || !strings.Contains(string(first), "auth=Bearer "+want) {
			t.Errorf("got %q, %v, want the token %s", first, err, want)
		}
	}
}

func TestAWSCredentialsThatAreMissingAreExplained(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ROLE_ARN"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("HOME", t.TempDir())
	mechanism, err := Kafka{SASLMechanism: saslAWS}.sasl()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := mechanism.Authenticate(t.Context(), "b-1.x.kafka.eu-west-1.amazonaws.com:9198"); err == nil || !strings.Contains(err.Error(), "AWS_WEB_IDENTITY_TOKEN_FILE") {
		t.Errorf("got %v", err)
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
	trust := c.Registry.Trust()
	now, err := trust()
	if err != nil || now.RootCAs == nil {
		t.Errorf("TLS %v, %v", now, err)
	}
	if again, err := trust(); err != nil || again != now {
		t.Errorf("another configuration for the same file: %v", err)
	}
	other, _ := certificate(t)
	text, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cert, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if after, err := trust(); err != nil || after == now || after.RootCAs.Equal(now.RootCAs) {
		t.Errorf("the replaced authority was not read: %v", err)
	}
	c.Registry.CAFile = "/none/ca.pem"
	if _, err := c.Registry.Trust()(); err == nil || !strings.Contains(err.Error(), "SCHEMA_REGISTRY_CA_FILE") {
		t.Errorf("got %v", err)
	}
}
