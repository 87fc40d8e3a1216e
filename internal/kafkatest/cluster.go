package kafkatest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leverstream/leverstream/internal/embedded"
)

// Environment variables by which the real back ends are chosen.
const (
	// BrokersVariable and RegistryVariable hold the addresses of a real Kafka and of a
	// Confluent-compatible registry.
	BrokersVariable  = "TEST_KAFKA_BROKERS"
	RegistryVariable = "TEST_SCHEMA_REGISTRY_URL"
	// RealOnlyVariable says that what runs on the embedded broker has run already.
	RealOnlyVariable = "TEST_REAL_ONLY"
	// DockerVariable says that containers may be started.
	DockerVariable = "TEST_DOCKER"
)

// KafkaImage is the image that the compose file uses, too.
const KafkaImage = "apache/kafka:4.3.1"

// Cluster is a broker and a schema registry.
type Cluster struct {
	Brokers     []string
	RegistryURL string
	// Real says that the broker is Apache Kafka.
	Real bool
}

// Client returns a plain client of the cluster that is closed when the test ends.
func (c Cluster) Client(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl := c.client(t, opts...)
	t.Cleanup(cl.Close)
	return cl
}

func (c Cluster) client(t testing.TB, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.Brokers...)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

// Each runs the test against every back end that is there: Embedded always, Address
// and Docker if their environment variables are set. Those that are missing are
// reported as skipped.
func Each(t *testing.T, test func(t *testing.T, c Cluster)) {
	t.Helper()
	t.Run("Embedded", func(t *testing.T) { test(t, Embedded(t)) })
	t.Run("Address", func(t *testing.T) { test(t, address(t)) })
	t.Run("Docker", func(t *testing.T) { test(t, docker(t)) })
}

// Best returns the real cluster if its address is set, else an embedded one.
func Best(t testing.TB) Cluster {
	t.Helper()
	if os.Getenv(BrokersVariable) != "" {
		return address(t)
	}
	return Embedded(t)
}

// Embedded starts an embedded broker and registry in memory.
func Embedded(t testing.TB) Cluster {
	t.Helper()
	if os.Getenv(RealOnlyVariable) != "" {
		t.Skip("runs on the embedded broker, and " + RealOnlyVariable + " is set")
	}
	return start(t)
}

func start(t testing.TB) Cluster {
	t.Helper()
	c, err := embedded.Start(t.Context(), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return Cluster{Brokers: c.Brokers, RegistryURL: c.RegistryURL}
}

func address(t testing.TB) Cluster {
	t.Helper()
	brokers, registry := os.Getenv(BrokersVariable), os.Getenv(RegistryVariable)
	if brokers == "" || registry == "" {
		t.Skipf("set %s and %s to run against a real Kafka", BrokersVariable, RegistryVariable)
	}
	return Cluster{Brokers: strings.Split(brokers, ","), RegistryURL: registry, Real: true}
}

// docker starts Apache Kafka in a container. The registry stays the embedded one.
func docker(t testing.TB) Cluster {
	t.Helper()
	if os.Getenv(DockerVariable) == "" {
		t.Skipf("set %s=1 to run against Kafka in a container", DockerVariable)
	}
	c := start(t)
	c.Brokers, c.Real = []string{startKafka(t)}, true
	return c
}

// startKafka starts a single broker and returns its address. The port is chosen
// before, because a broker must know by which address its clients reach it.
func startKafka(t testing.TB) string {
	t.Helper()
	const port = "29094"
	host := os.Getenv("TESTCONTAINERS_HOST_OVERRIDE")
	if host == "" {
		host = "localhost"
	}
	request := testcontainers.ContainerRequest{
		Image:        KafkaImage,
		ExposedPorts: []string{port + "/tcp"},
		HostConfigModifier: func(h *container.HostConfig) {
			h.PortBindings = network.PortMap{network.MustParsePort(port + "/tcp"): {{HostPort: port}}}
		},
		Env: map[string]string{
			"KAFKA_NODE_ID":                                  "1",
			"KAFKA_PROCESS_ROLES":                            "broker,controller",
			"KAFKA_CONTROLLER_QUORUM_VOTERS":                 "1@localhost:9093",
			"KAFKA_CONTROLLER_LISTENER_NAMES":                "CONTROLLER",
			"KAFKA_LISTENERS":                                "INTERNAL://:9092,CONTROLLER://:9093,HOST://:" + port,
			"KAFKA_ADVERTISED_LISTENERS":                     "INTERNAL://localhost:9092,HOST://" + host + ":" + port,
			"KAFKA_LISTENER_SECURITY_PROTOCOL_MAP":           "INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT,HOST:PLAINTEXT",
			"KAFKA_INTER_BROKER_LISTENER_NAME":               "INTERNAL",
			"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR":         "1",
			"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
			"KAFKA_TRANSACTION_STATE_LOG_MIN_ISR":            "1",
			"KAFKA_AUTO_CREATE_TOPICS_ENABLE":                "false",
		},
		WaitingFor: wait.ForLog("Kafka Server started").WithStartupTimeout(3 * time.Minute),
	}
	k, err := testcontainers.GenericContainer(t.Context(), testcontainers.GenericContainerRequest{ContainerRequest: request, Started: true})
	testcontainers.CleanupContainer(t, k)
	if err != nil {
		t.Fatal(err)
	}
	return host + ":" + port
}

// Subjects returns the registry's subjects that begin with the prefix, none if it is away.
func (c Cluster) Subjects(t testing.TB, prefix string) (subjects []string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.RegistryURL+"/subjects", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK || json.NewDecoder(resp.Body).Decode(&subjects) != nil {
		return nil
	}
	return slices.DeleteFunc(subjects, func(s string) bool { return !strings.HasPrefix(s, prefix) })
}

// schemaText asks a registry for a schema with a plain request.
func (c Cluster) schemaText(ctx context.Context, id uint32) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/schemas/ids/%d", c.RegistryURL, id), nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	return decodeSchema(resp)
}
