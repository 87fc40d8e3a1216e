package pipeline

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/leverstream/leverstream/internal/config"
)

// authority is a certificate of 127.0.0.1 that is its own authority, also in PEM form.
func authority(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// The authority of the registry is replaced on disk, as a rotation does it, and the client
// goes on without a restart; who is no longer in the file is no longer trusted.
func TestTheRegistrysAuthorityRotates(t *testing.T) {
	first, firstPEM := authority(t)
	second, secondPEM := authority(t)
	// serve is a registry with the certificate, which connections see to its end.
	serve := func(cert tls.Certificate, addr string) *httptest.Server {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"schema":"\"string\""}`))
		}))
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
		if addr != "" {
			var lc net.ListenConfig
			l, err := lc.Listen(t.Context(), "tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			s.Listener.Close()
			s.Listener = l
		}
		s.StartTLS()
		return s
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(firstPEM)
	server := serve(first, "")
	c := &config.Config{Registry: config.Registry{URL: config.URL(server.URL), CAFile: file}}
	r, err := Registry(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	id := 0
	ask := func() error {
		id++ // a schema that was read once is remembered
		_, err := r.Schema(t.Context(), id)
		return err
	}
	for range 3 {
		if err := ask(); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.Losses(); n != 0 {
		t.Errorf("%d connections were given up while the file stayed", n)
	}
	// Before the server changes, both are trusted.
	write(append(append([]byte{}, firstPEM...), secondPEM...))
	if err := ask(); err != nil {
		t.Error(err)
	}
	addr := server.Listener.Addr().String()
	server.Close()
	server = serve(second, addr)
	if err := ask(); err != nil {
		t.Errorf("the new authority is in the file: %v", err)
	}
	// Connections that are open do not outlive the trust in who is at their other end.
	write(firstPEM)
	if err := ask(); err == nil {
		t.Error("the authority was taken out of the file, and is still trusted")
	}
	write([]byte("half a file"))
	if err := ask(); err == nil {
		t.Error("no authority at all, and somebody is trusted")
	}
	write(secondPEM)
	if err := ask(); err != nil {
		t.Errorf("the file is whole again: %v", err)
	}
	server.Close()
}
