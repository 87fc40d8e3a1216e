package config

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"github.com/twmb/franz-go/pkg/sr"
)

// clientID is how the program names itself to brokers and registries.
const clientID = "leverstream"

// Opts returns the options that every Kafka client of the program shares: brokers,
// client id, TLS and SASL. Certificate and password files are read again for each
// new connection, the file of trusted authorities now. The error names the
// variable of a file that cannot be used.
func (k Kafka) Opts() ([]kgo.Opt, error) {
	opts := []kgo.Opt{kgo.SeedBrokers(k.Brokers...), kgo.ClientID(clientID)}
	if k.TLS {
		roots, err := trusted(k.CAFile)
		if err != nil {
			return nil, fmt.Errorf("KAFKA_CA_FILE: %w", err)
		}
		config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		if k.CertFile != "" {
			if _, err := keyPair(k.CertFile, k.KeyFile); err != nil {
				return nil, fmt.Errorf("KAFKA_CERT_FILE: %w", err)
			}
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return keyPair(k.CertFile, k.KeyFile)
			}
		}
		opts = append(opts, kgo.DialTLSConfig(config))
	}
	if k.SASLMechanism != "" {
		mechanism, err := k.sasl()
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.SASL(mechanism))
	}
	return opts, nil
}

func (k Kafka) sasl() (sasl.Mechanism, error) {
	password := func() (string, error) {
		pass, err := k.SASLPassword.Read()
		if err != nil {
			return "", fmt.Errorf("KAFKA_SASL_PASSWORD%s: %w", fileSuffix, err)
		}
		return pass, nil
	}
	asScram := func(context.Context) (scram.Auth, error) {
		pass, err := password()
		return scram.Auth{User: k.SASLUsername, Pass: pass}, err
	}
	switch k.SASLMechanism {
	case "PLAIN":
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			pass, err := password()
			return plain.Auth{User: k.SASLUsername, Pass: pass}, err
		}), nil
	case "SCRAM-SHA-256":
		return scram.Sha256(asScram), nil
	case "SCRAM-SHA-512":
		return scram.Sha512(asScram), nil
	default:
		return nil, fmt.Errorf("KAFKA_SASL_MECHANISM: %q is not known; use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", k.SASLMechanism)
	}
}

// trusted returns the certificate authorities in the file, nil for the system's.
func trusted(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the file %s holds no certificate in PEM form", path)
	}
	return pool, nil
}

func keyPair(cert, key string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("cannot use %s with %s: %w", cert, key, err)
	}
	return &pair, nil
}

// TLSConfig returns whom to trust as the registry. The error names the variable of a
// file that cannot be used.
func (r Registry) TLSConfig() (*tls.Config, error) {
	roots, err := trusted(r.CAFile)
	if err != nil {
		return nil, fmt.Errorf("SCHEMA_REGISTRY_CA_FILE: %w", err)
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}

// Opts returns the options of a registry client: address and credentials. The
// password's file is read now. The error names the variable of a file that cannot
// be used.
func (r Registry) Opts() ([]sr.ClientOpt, error) {
	opts := []sr.ClientOpt{sr.URLs(string(r.URL)), sr.UserAgent(clientID)}
	if r.Username != "" {
		pass, err := r.Password.Read()
		if err != nil {
			return nil, fmt.Errorf("SCHEMA_REGISTRY_PASSWORD%s: %w", fileSuffix, err)
		}
		opts = append(opts, sr.BasicAuth(r.Username, pass))
	}
	return opts, nil
}
