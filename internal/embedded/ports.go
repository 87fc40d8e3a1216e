package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// ports are kept in the data directory, so that clients find a cluster again after
// a restart.
type ports struct {
	Kafka    int `json:"kafka"`
	Registry int `json:"registry"`
}

// listeners are the open ports of a cluster.
type listeners struct {
	kafka, registry net.Listener
}

// close closes what is open.
func (l listeners) close() error {
	var errs []error
	for _, ln := range []net.Listener{l.kafka, l.registry} {
		if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// listen opens both ports: those that were asked for, else those used before, else
// free ones. It writes down what it took.
func listen(ctx context.Context, dir string, o Options) (listeners, error) {
	var used ports
	if dir != "" {
		// Unreadable ports are no reason to refuse the data: they are written anew.
		_, _ = readJSON(portsPath(dir), &used)
	}
	kafka, err := listenOn(ctx, o.KafkaPort, used.Kafka, "broker")
	if err != nil {
		return listeners{}, err
	}
	registry, err := listenOn(ctx, o.RegistryPort, used.Registry, "schema registry")
	if err != nil {
		return listeners{}, errors.Join(err, kafka.Close())
	}
	l := listeners{kafka: kafka, registry: registry}
	now := ports{Kafka: portOf(kafka), Registry: portOf(registry)}
	if dir == "" || now == used {
		return l, nil
	}
	if err := writeJSON(portsPath(dir), now); err != nil {
		return listeners{}, errors.Join(fmt.Errorf("note the ports: %w", err), l.close())
	}
	return l, nil
}

func listenOn(ctx context.Context, asked, before int, what string) (net.Listener, error) {
	var lc net.ListenConfig
	if asked == 0 && before != 0 {
		if ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(before))); err == nil {
			return ln, nil
		}
	}
	ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(asked)))
	if err != nil {
		return nil, fmt.Errorf("start embedded %s: %w; choose another port, or none to take a free one", what, err)
	}
	return ln, nil
}

// portOf returns the port of a TCP listener.
func portOf(ln net.Listener) int {
	addr, ok := ln.Addr().(*net.TCPAddr)
	if !ok {
		return 0
	}
	return addr.Port
}
