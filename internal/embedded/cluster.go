package embedded

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// host is where broker and registry listen. They have no passwords, so it is
// loopback and cannot be changed.
const host = "127.0.0.1"

// noCleaner is an interval, in milliseconds, that never passes (285 years). The
// broker's own cleaner would rewrite partitions in place, which a kill in between
// turns into lost records, lets records of open transactions supersede committed
// ones, and ignores min.compaction.lag.ms.
const noCleaner = "9000000000000"

// Options say where a cluster keeps its data and where it listens.
type Options struct {
	// DataDir is created if it does not exist. Empty keeps everything in memory
	// until Close.
	DataDir string
	// KafkaPort and RegistryPort are the ports on 127.0.0.1. 0 takes the ports that
	// the data directory used before, or free ones.
	KafkaPort, RegistryPort int
	// Logger gets warnings and errors of broker and registry, and what a start
	// after a crash repaired. Nil discards them.
	Logger *slog.Logger
}

// Cluster is a running broker and schema registry. Make one with Start.
type Cluster struct {
	// Brokers are the addresses of the broker, host:port.
	Brokers []string
	// RegistryURL is the address of the schema registry.
	RegistryURL string

	kafka    *kfake.Cluster
	log      *brokerLog
	http     *http.Server
	serving  sync.WaitGroup
	dir      string
	lock     *os.File
	closing  sync.Once
	closeErr error
}

// Start starts a broker and a registry with the data in the directory, and returns
// when both accept connections. After a crash it first finishes the transactions
// that the crash cut off. It fails if another process uses the directory, if a
// given port is taken or if the data is damaged beyond what a crash of the process
// leaves behind; the error says what to do. The context bounds the start only.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{dir: o.DataDir, log: &brokerLog{logger: o.Logger}}
	if err := c.start(ctx, o); err != nil {
		return nil, errors.Join(err, c.release())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, o Options) error {
	if c.dir != "" {
		// Topics hold personal data: nobody else may read them, not even in a
		// directory that others may list.
		if err := os.MkdirAll(kafkaDir(c.dir), 0o700); err != nil {
			return fmt.Errorf("create data directory: %w", err)
		}
		lock, err := lockDir(c.dir)
		if err != nil {
			return err
		}
		c.lock = lock
		if err := repair(c.dir, o.Logger); err != nil {
			return fmt.Errorf("repair data directory %s after a crash: %w", c.dir, err)
		}
	}
	reg, err := openRegistry(c.dir)
	if err != nil {
		return err
	}
	listeners, err := listen(ctx, c.dir, o)
	if err != nil {
		return err
	}
	if err := c.startKafka(listeners.kafka); err != nil {
		return errors.Join(err, listeners.close())
	}
	c.Brokers = []string{listeners.kafka.Addr().String()}
	c.RegistryURL = "http://" + listeners.registry.Addr().String()
	c.http = &http.Server{
		Handler:           reg.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn),
	}
	c.serving.Go(func() {
		if err := c.http.Serve(listeners.registry); !errors.Is(err, http.ErrServerClosed) {
			o.Logger.Error("the embedded schema registry stopped", "error", err)
		}
	})
	return nil
}

func (c *Cluster) startKafka(ln net.Listener) error {
	port := portOf(ln)
	opts := []kfake.Opt{
		kfake.Ports(port),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return honestListener{ln, c.log}, nil }),
		// A random id, because clients that keep state beside the cluster tell
		// clusters apart by it. A directory keeps the id it was made with.
		kfake.ClusterID(newClusterID()),
		kfake.BrokerConfigs(map[string]string{"log.cleaner.backoff.ms": noCleaner}),
		kfake.WithLogger(c.log),
	}
	if c.dir != "" {
		opts = append(opts, kfake.DataDir(kafkaDir(c.dir)))
	}
	kafka, err := kfake.NewCluster(opts...)
	if err != nil {
		return fmt.Errorf("start embedded broker: %w", err)
	}
	c.kafka = kafka
	return nil
}

// Close stops broker and registry and writes down what only they know, so that the
// next Start has nothing to repair. Clients should be closed before. A second call
// does nothing and returns the same error.
func (c *Cluster) Close() error {
	c.closing.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		c.closeErr = c.http.Shutdown(ctx)
		if errors.Is(c.closeErr, context.DeadlineExceeded) {
			c.closeErr = c.http.Close()
		}
		c.serving.Wait()
		c.kafka.Close()
		switch {
		case c.log.failed.Load():
			// Without the mark, the next start looks for what is missing.
			c.closeErr = errors.Join(c.closeErr, errors.New("the embedded broker could not write everything down, see its errors in the log; the next start repairs what it can"))
		case c.dir != "":
			c.closeErr = errors.Join(c.closeErr, markClean(c.dir))
		}
		c.closeErr = errors.Join(c.closeErr, c.release())
	})
	return c.closeErr
}

func (c *Cluster) release() error {
	if c.lock == nil {
		return nil
	}
	lock := c.lock
	c.lock = nil
	return lock.Close() // the lock goes with the file
}

// Layout of the data directory.

func kafkaDir(dir string) string     { return filepath.Join(dir, "kafka") }
func registryPath(dir string) string { return filepath.Join(dir, "registry.json") }
func portsPath(dir string) string    { return filepath.Join(dir, "ports.json") }
func lockPath(dir string) string     { return filepath.Join(dir, "lock") }

// cleanPath names the file that exists only while the cluster is stopped and was
// stopped by Close.
func cleanPath(dir string) string { return filepath.Join(dir, "clean") }

func markClean(dir string) error {
	if err := os.WriteFile(cleanPath(dir), nil, 0o600); err != nil {
		return fmt.Errorf("note the clean stop: %w", err)
	}
	return nil
}

// newClusterID returns a random id in the form of Kafka's, 16 bytes in base64.
func newClusterID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(id[:])
}
