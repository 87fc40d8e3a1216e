package config

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/aws"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"github.com/twmb/franz-go/pkg/sr"
)

// clientID is how the program names itself to brokers and registries.
const clientID = "leverstream"

// Mechanisms of SASL that take neither user name nor password.
const (
	saslOAuthBearer = "OAUTHBEARER"
	saslAWS         = "AWS_MSK_IAM"
)

// Opts returns the options that every Kafka client of the program shares: brokers,
// client id, TLS and SASL. Certificates, authorities, passwords and tokens are read again
// for each new connection (and tokens whenever the broker wants the client to
// authenticate again, KIP-368), so that files may be replaced while the program runs. The
// error names the variable of a file that cannot be used now.
func (k Kafka) Opts() ([]kgo.Opt, error) {
	opts := []kgo.Opt{kgo.SeedBrokers(k.Brokers...), kgo.ClientID(clientID)}
	if k.TLS {
		if _, err := k.tls(); err != nil {
			return nil, err
		}
		opts = append(opts, kgo.Dialer(k.dial))
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

// dialTimeout is franz-go's own.
const dialTimeout = 10 * time.Second

// dial connects with the certificates that are in the files now.
func (k Kafka) dial(ctx context.Context, network, host string) (net.Conn, error) {
	config, err := k.tls()
	if err != nil {
		return nil, err
	}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTimeout}, Config: config}
	return d.DialContext(ctx, network, host)
}

func (k Kafka) tls() (*tls.Config, error) {
	roots, err := trusted(k.CAFile)
	if err != nil {
		return nil, fmt.Errorf("KAFKA_CA_FILE: %w", err)
	}
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if k.CertFile != "" {
		pair, err := keyPair(k.CertFile, k.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("KAFKA_CERT_FILE: %w", err)
		}
		config.Certificates = []tls.Certificate{*pair}
	}
	return config, nil
}

func (k Kafka) sasl() (sasl.Mechanism, error) {
	read := func(s Secret, variable string) (string, error) {
		value, err := s.Read()
		if err != nil {
			return "", fmt.Errorf("%s%s: %w", variable, fileSuffix, err)
		}
		return value, nil
	}
	asScram := func(context.Context) (scram.Auth, error) {
		pass, err := read(k.SASLPassword, "KAFKA_SASL_PASSWORD")
		return scram.Auth{User: k.SASLUsername, Pass: pass}, err
	}
	switch k.SASLMechanism {
	case "PLAIN":
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			pass, err := read(k.SASLPassword, "KAFKA_SASL_PASSWORD")
			return plain.Auth{User: k.SASLUsername, Pass: pass}, err
		}), nil
	case "SCRAM-SHA-256":
		return scram.Sha256(asScram), nil
	case "SCRAM-SHA-512":
		return scram.Sha512(asScram), nil
	case saslOAuthBearer:
		return oauth.Oauth(func(context.Context) (oauth.Auth, error) {
			token, err := read(k.SASLToken, "KAFKA_SASL_TOKEN")
			return oauth.Auth{Token: token}, err
		}), nil
	case saslAWS:
		return aws.ManagedStreamingIAM(new(awsCredentials).auth), nil
	default:
		return nil, fmt.Errorf("KAFKA_SASL_MECHANISM: %q is not known", k.SASLMechanism)
	}
}

// awsCredentials finds credentials as AWS's own programs do: variables, shared files,
// web identity (EKS), container and instance metadata. The chain is made when it is first
// used, because looking for it may take a request, and renews what expires.
type awsCredentials struct {
	mu    sync.Mutex
	chain awssdk.CredentialsProvider
}

func (a *awsCredentials) auth(ctx context.Context) (aws.Auth, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	const advice = "find AWS credentials for KAFKA_SASL_MECHANISM=AWS_MSK_IAM (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, AWS_ROLE_ARN with AWS_WEB_IDENTITY_TOKEN_FILE, or the metadata of a container or instance)"
	if a.chain == nil {
		c, err := awsconfig.LoadDefaultConfig(ctx)
		if err != nil {
			return aws.Auth{}, fmt.Errorf("%s: %w", advice, err)
		}
		a.chain = c.Credentials
	}
	found, err := a.chain.Retrieve(ctx)
	if err != nil {
		return aws.Auth{}, fmt.Errorf("%s: %w", advice, err)
	}
	if !found.CanExpire {
		a.chain = nil // a file, which may be replaced
	}
	return aws.Auth{AccessKey: found.AccessKeyID, SecretKey: found.SecretAccessKey, SessionToken: found.SessionToken, UserAgent: clientID}, nil
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
	return authorities(path, pem)
}

// authorities returns those in the content of the file.
func authorities(path string, pem []byte) (*x509.CertPool, error) {
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

// Trust returns a function that says whom to trust as the registry, as the file has it
// now: always the same configuration while the file stays as it is. The error names the
// variable of a file that cannot be used.
func (r Registry) Trust() func() (*tls.Config, error) {
	var (
		mu     sync.Mutex
		pem    []byte
		config *tls.Config
	)
	return func() (*tls.Config, error) {
		mu.Lock()
		defer mu.Unlock()
		var now []byte
		if r.CAFile != "" {
			var err error
			if now, err = os.ReadFile(r.CAFile); err != nil {
				return nil, fmt.Errorf("SCHEMA_REGISTRY_CA_FILE: cannot read the file: %w", err)
			}
		}
		if config != nil && bytes.Equal(now, pem) {
			return config, nil
		}
		next := &tls.Config{MinVersion: tls.VersionTLS12}
		if r.CAFile != "" {
			var err error
			if next.RootCAs, err = authorities(r.CAFile, now); err != nil {
				return nil, fmt.Errorf("SCHEMA_REGISTRY_CA_FILE: %w", err)
			}
		}
		pem, config = now, next
		return config, nil
	}
}

// Opts returns the options of a registry client: address and credentials. The password's
// file is read for each request; the error names the variable of a file that cannot be
// used now.
func (r Registry) Opts() ([]sr.ClientOpt, error) {
	opts := []sr.ClientOpt{sr.URLs(string(r.URL)), sr.UserAgent(clientID)}
	if r.Username == "" {
		return opts, nil
	}
	password := func() (string, error) {
		pass, err := r.Password.Read()
		if err != nil {
			return "", fmt.Errorf("SCHEMA_REGISTRY_PASSWORD%s: %w", fileSuffix, err)
		}
		return pass, nil
	}
	if _, err := password(); err != nil {
		return nil, err
	}
	return append(opts, sr.PreReq(func(req *http.Request) error {
		pass, err := password()
		if err == nil {
			req.SetBasicAuth(r.Username, pass)
		}
		return err
	})), nil
}
