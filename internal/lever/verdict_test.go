package lever

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

func TestConnectionErrorsAreToldInPlainWords(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&net.OpError{Op: "dial", Err: &net.DNSError{Name: private, IsNotFound: true}}, "cannot find the API's host in the DNS"},
		{&net.OpError{Op: "dial", Err: &net.DNSError{IsTimeout: true}}, "no complete answer in time"},
		{fmt.Errorf("%s: %w", private, io.ErrUnexpectedEOF), "the connection was closed in the middle of an answer"},
		{fmt.Errorf("malformed MIME header line: %s", private), "the connection failed, or what came was not a proper HTTP answer"},
	} {
		if got := describe(tt.err); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestAWrongCertificateOrNoTLSIsNamed(t *testing.T) {
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, onePage) })
	secure := httptest.NewUnstartedServer(answer)
	secure.Config.ErrorLog = quiet()
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewServer(answer)
	defer plain.Close()
	for base, want := range map[string]string{
		secure.URL: "the server's certificate is not trusted; check the clock, the proxy and the certificate authorities",
		strings.Replace(plain.URL, "http:", "https:", 1): "the server does not speak TLS; check LEVER_API_URL",
	} {
		cfg := configFor(nil)
		cfg.BaseURL, cfg.Attempts, cfg.Rate = base, 1, 1000
		_, err := newClient(t, cfg).Get(context.Background(), listing)
		wantKind(t, err, cdc.ErrUnavailable)
		if got := fmt.Sprint(err); got != "GET /opportunities: "+want {
			t.Errorf("error %q, want %q", got, want)
		}
	}
}

func TestRetryAfterIsReadInBothFormsAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for value, want := range map[string]time.Duration{
			"": 0, "soon": 0, "-5": 0, "0": 0, "12": 12 * time.Second, " 3 ": 3 * time.Second,
			"61": time.Minute, "4294967295": time.Minute, "99999999999999999999": 0,
			time.Now().UTC().Add(7 * time.Second).Format(http.TimeFormat): 7 * time.Second,
			time.Now().UTC().Add(time.Hour).Format(http.TimeFormat):       time.Minute,
			time.Now().UTC().Add(-time.Hour).Format(http.TimeFormat):      0,
		} {
			if got := retryAfter(http.Header{"Retry-After": {value}}); got != want {
				t.Errorf("%q: %v, want %v", value, got, want)
			}
		}
	})
}
