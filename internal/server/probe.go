package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// probeTimeout bounds a probe whose context has no deadline.
const probeTimeout = 5 * time.Second

// Probe asks the server at the address that the program listens on whether it is
// live and ready, and returns nil if it is both. An address for all interfaces is
// asked on loopback. The error says what the server said, or that none answers.
func Probe(ctx context.Context, addr string) error {
	if addr == "" {
		return errors.New("nothing is served that could be asked: HTTP_ADDR is off")
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, probeTimeout)
		defer cancel()
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("HTTP_ADDR: %w", err)
	}
	base := "http://" + net.JoinHostPort(reachable(host), port)
	// A proxy from the environment is not meant for this.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, path := range []string{"/livez", "/readyz"} {
		if err := ask(ctx, client, base+path); err != nil {
			return err
		}
	}
	return nil
}

// reachable returns a host to connect to for a host to listen on.
func reachable(host string) string {
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "", err == nil && ip == netip.IPv4Unspecified():
		return "127.0.0.1"
	case err == nil && ip == netip.IPv6Unspecified():
		return "::1"
	default:
		return host
	}
}

func ask(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("the program does not answer: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	return fmt.Errorf("%s: %s: %s", url, resp.Status, strings.TrimSpace(string(text)))
}
