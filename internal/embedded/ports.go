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

// honestListener keeps the broker from acknowledging what it could not write down.
// The broker logs that and then answers all the same: a commit of which no marker is
// in any partition, which the next start would abort. Here, answers stop with the
// failure, and connections end, so that clients know that they do not know. What
// became of the transaction, the next start decides.
type honestListener struct {
	net.Listener
	log *brokerLog
}

// Accept implements net.Listener.
func (l honestListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return honestConn{conn, l.log}, nil
}

type honestConn struct {
	net.Conn
	log *brokerLog
}

// Write implements net.Conn.
func (c honestConn) Write(b []byte) (int, error) {
	if c.log.lost.Load() {
		return 0, errors.New("the embedded broker could not write down what it is about to acknowledge")
	}
	return c.Conn.Write(b)
}
