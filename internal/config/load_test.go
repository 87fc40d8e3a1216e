package config

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

func catalogue() []cdc.Table {
	return []cdc.Table{
		{Name: "candidates", Key: "id"},
		{Name: "candidate_offers", Key: "id", Parent: "candidates", ParentFields: []string{"opportunityId", "candidateId"}},
		{Name: "opportunities", Key: "id"},
		{Name: "opportunity_offers", Key: "id", Parent: "opportunities", ParentFields: []string{"opportunityId"}},
		{Name: "stages", Key: "id"},
	}
}

// environment sets these variables and none else that the program reads.
func environment(t *testing.T, vars map[string]string) {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); reserved(name) {
			t.Setenv(name, "")
		}
	}
	for _, v := range Variables() {
		t.Setenv(v.Name, "")
	}
	for _, u := range unsupportedVariables() {
		t.Setenv(u.name, "")
	}
	for name, value := range vars {
		t.Setenv(name, value)
	}
}

func load(t *testing.T, need Need, vars map[string]string) (*Config, error) {
	t.Helper()
	environment(t, vars)
	return Load(catalogue(), need)
}

// problemsOf returns the mistakes as lines "VARIABLE: text".
func problemsOf(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	e := (*Error)(nil)
	if !errors.As(err, &e) {
		t.Fatalf("%v is not an *Error", err)
	}
	var lines []string
	for _, p := range e.Problems {
		lines = append(lines, p.Variable+": "+p.Text)
	}
	return lines
}

func TestDefaultsAreThoseOfTheContract(t *testing.T) {
	c, err := load(t, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	for what, ok := range map[string]bool{
		"API":         c.Lever.APIURL == "https://api.lever.co/v1",
		"account":     c.Lever.Account == "default",
		"tables":      len(c.Lever.Tables) == len(catalogue()),
		"rate":        c.Lever.Rate == 10 && c.Lever.Burst == 10 && c.Lever.Concurrency == 16,
		"intervals":   c.Lever.PollInterval == 10*time.Second && c.Lever.RefreshInterval == 5*time.Minute && c.Lever.SweepInterval == 24*time.Hour,
		"overlap":     c.Lever.Overlap == 5*time.Minute,
		"guard":       c.Lever.DeleteGuard == 0.10,
		"modes":       c.Lever.Confidential == "auto" && c.Lever.Candidates == "derived",
		"topics":      c.Kafka.TopicPrefix == "lever" && c.Kafka.BookmarksTopic == "lever.bookmarks" && c.Kafka.StateTopic == "lever.state",
		"partitions":  c.Kafka.Partitions == 6 && c.Kafka.ReplicationFactor == -1,
		"compression": c.Kafka.Compression == "zstd",
		"no TLS":      !c.Kafka.TLS,
		"register":    c.Registry.Register,
		"events":      c.Events.Format == "debezium" && c.Events.Key == "avro",
		"state":       strings.Contains(c.Program.StateDir, "leverstream"),
		"HTTP":        c.Program.HTTPAddr == "127.0.0.1:8080" && !c.IsSet("HTTP_ADDR"),
		"log":         c.Program.Level() == slog.LevelInfo && c.Program.LogFormat == "auto",
	} {
		if !ok {
			t.Errorf("%s: not the default", what)
		}
	}
}

func TestValuesAreTaken(t *testing.T) {
	c, err := load(t, NeedLever|NeedKafka|NeedRegistry, map[string]string{
		"LEVER_TOKEN": "tok", "LEVER_API_URL": "http://localhost:4000/v1/", "LEVER_TABLES": "stages, opportunity_offers,opportunities,",
		"LEVER_RATE": "2.5", "POLL_INTERVAL": "1m30s", "SWEEP_INTERVAL": "0", "LEVER_DELETE_GUARD": "0.5%",
		"KAFKA_BROKERS": "a:9092, [::1]:9093", "KAFKA_TOPIC_PREFIX": "hr", "KAFKA_COMPRESSION": "LZ4",
		"KAFKA_TOPIC_CONFIG":       "cleanup.policy=compact,delete,retention.ms=1",
		"KAFKA_SASL_MECHANISM":     "scram-sha-512",
		"KAFKA_SASL_USERNAME":      "u",
		"KAFKA_SASL_PASSWORD":      "p",
		"SCHEMA_REGISTRY_URL":      "https://r/path",
		"SCHEMA_REGISTRY_REGISTER": "false",
		"EVENT_FORMAT":             "flat",
		"HTTP_ADDR":                "off",
		"LOG_LEVEL":                "DEBUG",
	})
	if err != nil {
		t.Fatal(err)
	}
	token, err := c.Lever.Token.Read()
	if err != nil || token != "tok" {
		t.Errorf("token %q, %v", token, err)
	}
	if got := strings.Join(c.Lever.Tables, " "); got != "opportunities opportunity_offers stages" {
		t.Errorf("tables %s, want the catalogue's order", got)
	}
	if got := c.Kafka.TopicConfig["cleanup.policy"]; got != "compact,delete" || c.Kafka.TopicConfig["retention.ms"] != "1" {
		t.Errorf("topic configuration %v", c.Kafka.TopicConfig)
	}
	for what, ok := range map[string]bool{
		"API":         c.Lever.APIURL == "http://localhost:4000/v1",
		"rate":        c.Lever.Rate == 2.5,
		"intervals":   c.Lever.PollInterval == 90*time.Second && c.Lever.SweepInterval == 0,
		"guard":       c.Lever.DeleteGuard == 0.005 && c.Lever.DeleteGuard.String() == "0.5%",
		"brokers":     slices.Equal(c.Kafka.Brokers, Brokers{"a:9092", "[::1]:9093"}),
		"topics":      c.Kafka.BookmarksTopic == "hr.bookmarks" && c.Kafka.StateTopic == "hr.state",
		"compression": c.Kafka.Compression == "lz4",
		"SASL":        c.Kafka.SASLMechanism == "SCRAM-SHA-512",
		"register":    !c.Registry.Register,
		"format":      c.Events.Format == "flat",
		"HTTP":        c.Program.HTTPAddr == "" && c.IsSet("HTTP_ADDR"),
		"log":         c.Program.Level() == slog.LevelDebug,
	} {
		if !ok {
			t.Errorf("%s: not what was set", what)
		}
	}
}

func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	large := filepath.Join(dir, "large")
	for path, size := range map[string]int{empty: 0, large: maxSecretBytes + 1} {
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := NeedLever | NeedKafka | NeedRegistry
	for name, test := range map[string]struct {
		need Need
		vars map[string]string
		// want are parts of the lines "VARIABLE: text", one for each mistake, in order.
		want []string
	}{
		"nothing is required of a command that talks to nobody": {},
		"what is missing is named at once, in the order of the reference": {
			need: all,
			want: []string{"LEVER_TOKEN: is not set", "KAFKA_BROKERS: is not set", "SCHEMA_REGISTRY_URL: is not set"},
		},
		"an embedded run needs Lever only": {need: NeedLever, want: []string{"LEVER_TOKEN: is not set"}},
		"set but empty is not set": {
			need: NeedKafka, vars: map[string]string{"KAFKA_BROKERS": "", "POLL_INTERVAL": "", "KAFKA_UNKNOWN": ""},
			want: []string{"KAFKA_BROKERS: is not set"},
		},
		"wrong values are reported to every command": {
			vars: map[string]string{
				"POLL_INTERVAL": "10", "LEVER_RATE": "fast", "LEVER_BURST": "1.5", "SCHEMA_REGISTRY_REGISTER": "maybe", "EVENT_KEY": "json",
			},
			want: []string{
				`LEVER_RATE: "fast" is not a number; use 0.01 to 1000000`,
				`LEVER_BURST: "1.5" is not a whole number; use 1 to 1000000`,
				`POLL_INTERVAL: "10" is not a duration; use a number with a unit, such as 10s`,
				`SCHEMA_REGISTRY_REGISTER: "maybe" is neither true nor false`,
				`EVENT_KEY: "json" is not known; use avro or string`,
			},
		},
		"out of range": {
			vars: map[string]string{
				"LEVER_RATE": "NaN", "LEVER_BURST": "0", "LEVER_CONCURRENCY": "1001", "POLL_INTERVAL": "0s", "LEVER_OVERLAP": "-1s",
				"KAFKA_REPLICATION_FACTOR": "-2",
			},
			want: []string{
				"LEVER_RATE: NaN is out of range", "LEVER_BURST: 0 is out of range; use 1 to 1000000", "LEVER_CONCURRENCY: 1001",
				"POLL_INTERVAL: 0s is out of range; use 1ms or more", "LEVER_OVERLAP: -1s", "KAFKA_REPLICATION_FACTOR: -2",
			},
		},
		"no replicas are none to create a topic with": {
			vars: map[string]string{"KAFKA_REPLICATION_FACTOR": "0"},
			want: []string{"KAFKA_REPLICATION_FACTOR: 0 is out of range; use 1 or more, or -1 for the broker's default"},
		},
		"replicas are a number": {
			vars: map[string]string{"KAFKA_REPLICATION_FACTOR": "three"},
			want: []string{`KAFKA_REPLICATION_FACTOR: "three" is not a whole number`},
		},
		"whole numbers are written in decimal": {
			vars: map[string]string{"LEVER_BURST": "0x10", "LEVER_CONCURRENCY": "1_0", "KAFKA_PARTITIONS": "99999999999"},
			want: []string{
				`LEVER_BURST: "0x10" is not a whole number; use 1 to 1000000`, `LEVER_CONCURRENCY: "1_0" is not a whole number`,
				`KAFKA_PARTITIONS: "99999999999" is not a whole number; use 1 to 10000`,
			},
		},
		"the guard is a percentage": {
			vars: map[string]string{"LEVER_DELETE_GUARD": "0.1"},
			want: []string{`LEVER_DELETE_GUARD: "0.1" is not a share; use a percentage from 0% to 100%`},
		},
		"a typo gets a suggestion": {
			vars: map[string]string{"LEVER_TOKN": "x", "KAFKA_TOPIC_PREFX": "x", "SCHEMA_REGISTRY": "", "lever_rate": "1", "LEVER_QQQQQQQQ": "1"},
			want: []string{
				"KAFKA_TOPIC_PREFX: is not a known variable; did you mean KAFKA_TOPIC_PREFIX?",
				"LEVER_QQQQQQQQ: is not a known variable",
				"LEVER_TOKN: is not a known variable; did you mean LEVER_TOKEN?",
				"lever_rate: is not a known variable; did you mean LEVER_RATE?",
			},
		},
		"names that Kubernetes injects are ignored": {
			vars: map[string]string{
				"KAFKA_SERVICE_HOST": "10.0.0.1", "KAFKA_SERVICE_PORT": "9092", "KAFKA_SERVICE_PORT_CLIENT": "9092", "KAFKA_PORT": "tcp://10.0.0.1:9092",
				"KAFKA_PORT_9092_TCP_ADDR": "10.0.0.1", "SCHEMA_REGISTRY_PORT": "tcp://10.0.0.1:8081", "LEVER_SANDBOX_SERVICE_HOST": "10.0.0.1",
			},
		},
		"what this version does not have is refused": {
			vars: map[string]string{"LEVER_WEBHOOK_TOKEN_FILE": "/x"},
			want: []string{"LEVER_WEBHOOK_TOKEN_FILE: is not supported by this version; remove it"},
		},
		"OAuth needs all of its variables": {
			need: NeedLever, vars: map[string]string{"LEVER_OAUTH_CLIENT_ID": "c", "LEVER_API_URL": "http://localhost:1/v1"},
			want: []string{"LEVER_OAUTH_CLIENT_SECRET: is not set", "LEVER_OAUTH_TOKEN_FILE: is not set", "LEVER_OAUTH_TOKEN_URL: is not set; OAuth needs it: LEVER_API_URL is not Lever's"},
		},
		"OAuth excludes a key, and its file needs a place": {
			need: NeedLever, vars: map[string]string{"LEVER_TOKEN": "x", "LEVER_OAUTH_CLIENT_ID": "c", "LEVER_OAUTH_CLIENT_SECRET": "s", "LEVER_OAUTH_TOKEN_FILE": "/does/not/exist"},
			want: []string{"LEVER_TOKEN: is set, and so is OAuth", "LEVER_OAUTH_REFRESH_TOKEN: is not set", "LEVER_OAUTH_TOKEN_FILE: its directory /does/not does not exist"},
		},
		"OAUTHBEARER needs a token": {
			vars: map[string]string{"KAFKA_SASL_MECHANISM": "oauthbearer", "KAFKA_SASL_PASSWORD": "x"},
			want: []string{"KAFKA_SASL_PASSWORD: is set, and OAUTHBEARER takes none", "KAFKA_SASL_TOKEN: is not set"},
		},
		"AWS_MSK_IAM takes the variables of AWS, and TLS": {
			vars: map[string]string{"KAFKA_SASL_MECHANISM": "AWS_MSK_IAM", "KAFKA_SASL_USERNAME": "u"},
			want: []string{"KAFKA_TLS: is false, and AWS_MSK_IAM needs TLS", "KAFKA_SASL_USERNAME: is set, and AWS_MSK_IAM takes none"},
		},
		"a token is for OAUTHBEARER": {
			vars: map[string]string{"KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USERNAME": "u", "KAFKA_SASL_PASSWORD": "x", "KAFKA_SASL_TOKEN": "x"},
			want: []string{"KAFKA_SASL_TOKEN: is set, and PLAIN takes none"},
		},
		"rules for fields must mean something": {
			vars: map[string]string{
				"LEVER_EXCLUDE_FIELDS": "opportunities.emial, stages.id,opportunity_offers.opportunityId, candidates.isAnonymized, name, x.*, a.[b",
				"LEVER_HASH_FIELDS":    "opportunities.createdAt,candidates._extra", "LEVER_HASH_KEY": "hunter2-and-some-more",
			},
			want: []string{
				`LEVER_EXCLUDE_FIELDS: "opportunities.emial" matches no field of any table; did you mean opportunities.emails?`,
				`LEVER_EXCLUDE_FIELDS: "stages.id" is the primary key`,
				`LEVER_EXCLUDE_FIELDS: "opportunity_offers.opportunityId" is the id of the row's parent`,
				`LEVER_EXCLUDE_FIELDS: "candidates.isAnonymized" tells that a person was anonymised`,
				`LEVER_EXCLUDE_FIELDS: "name" is no path`,
				`LEVER_EXCLUDE_FIELDS: "x.*" matches no field`,
				`LEVER_EXCLUDE_FIELDS: "a.[b" is no path`,
				`LEVER_HASH_FIELDS: "opportunities.createdAt" is not text`,
				`LEVER_HASH_FIELDS: "candidates._extra" holds unknown fields`,
			},
		},
		"hashes need a key":               {vars: map[string]string{"LEVER_HASH_FIELDS": "@pii"}, want: []string{"LEVER_HASH_KEY: is not set"}},
		"a hash key is long":              {vars: map[string]string{"LEVER_HASH_FIELDS": "@pii", "LEVER_HASH_KEY": "hunter2"}, want: []string{"LEVER_HASH_KEY: is too short"}},
		"a hash key's file is read":       {vars: map[string]string{"LEVER_HASH_FIELDS": "@pii", "LEVER_HASH_KEY_FILE": empty}, want: []string{"LEVER_HASH_KEY_FILE: the file " + empty + " is empty"}},
		"rules for fields with wildcards": {vars: map[string]string{"LEVER_EXCLUDE_FIELDS": "*.*, candidate*.*.fileName, candidates.@pii"}},
		"admin on a network needs a token": {
			need: NeedLever, vars: map[string]string{"HTTP_ADDR": ":8080", "LEVER_TOKEN": "x"},
			want: []string{"ADMIN_TOKEN: is not set, but HTTP_ADDR is not loopback"},
		},
		"admin on a network with a token":  {need: NeedLever, vars: map[string]string{"HTTP_ADDR": "0.0.0.0:8080", "ADMIN_TOKEN": "x", "LEVER_TOKEN": "x"}},
		"admin on loopback needs no token": {need: NeedLever, vars: map[string]string{"HTTP_ADDR": "[::1]:8080", "LEVER_TOKEN": "x"}},
		"an unknown table gets a suggestion": {
			vars: map[string]string{"LEVER_TABLES": "opportunites"},
			want: []string{`LEVER_TABLES: "opportunites" is not a table; did you mean opportunities?`},
		},
		"half a table's name gets a suggestion": {
			vars: map[string]string{"LEVER_TABLES": "offers"},
			want: []string{`LEVER_TABLES: "offers" is not a table; did you mean candidate_offers?`},
		},
		"a table like no other gets the list": {
			vars: map[string]string{"LEVER_TABLES": "interviews"},
			want: []string{`LEVER_TABLES: "interviews" is not a table; use candidates, candidate_offers, opportunities, opportunity_offers or stages`},
		},
		"a child without its parent is refused by the parent's name": {
			vars: map[string]string{"LEVER_TABLES": "candidate_offers,opportunities"},
			want: []string{"LEVER_TABLES: candidate_offers needs its parent candidates; add candidates"},
		},
		"an API URL must be one": {
			vars: map[string]string{"LEVER_API_URL": "api.lever.co/v1", "SCHEMA_REGISTRY_URL": "ftp://x"},
			want: []string{"LEVER_API_URL:", "SCHEMA_REGISTRY_URL:"},
		},
		"a password in a URL is refused and not repeated": {
			vars: map[string]string{"SCHEMA_REGISTRY_URL": "https://user:hunter2@host", "KAFKA_BROKERS": "user:hunter2@host:9092", "LEVER_API_URL": "https://user:hunter2@%zz"},
			want: []string{"LEVER_API_URL: is not a URL", "KAFKA_BROKERS: must not hold", "SCHEMA_REGISTRY_URL: must not hold"},
		},
		"a URL with a space in it": {
			vars: map[string]string{"LEVER_API_URL": "https://api.lever.co/v1 ", "SCHEMA_REGISTRY_URL": "https://host/a b"},
			want: []string{"LEVER_API_URL: must not hold spaces", "SCHEMA_REGISTRY_URL: must not hold spaces"},
		},
		"a password in a URL without a scheme is not repeated": {
			vars: map[string]string{"SCHEMA_REGISTRY_URL": "user:hunter2@host:8081", "LEVER_API_URL": "hunter2", "LEVER_OAUTH_TOKEN_URL": "hunter2:x"},
			want: []string{"LEVER_OAUTH_TOKEN_URL: is not an http or https URL", "LEVER_API_URL: is not an http or https URL", "SCHEMA_REGISTRY_URL: is not an http or https URL"},
		},
		"brokers need a port":        {vars: map[string]string{"KAFKA_BROKERS": "a:9092,b"}, want: []string{`KAFKA_BROKERS: "b" is not a broker; use host:port`}},
		"brokers are no URLs":        {vars: map[string]string{"KAFKA_BROKERS": "http://a:9092"}, want: []string{"KAFKA_BROKERS:"}},
		"only commas are no brokers": {need: NeedKafka, vars: map[string]string{"KAFKA_BROKERS": " , "}, want: []string{"KAFKA_BROKERS: names no broker"}},
		"only commas are no tables":  {vars: map[string]string{"LEVER_TABLES": ","}, want: []string{"LEVER_TABLES: names no table; use candidates,"}},
		"topics must differ": {
			vars: map[string]string{"KAFKA_BOOKMARKS_TOPIC": "lever.stages", "KAFKA_STATE_TOPIC": "lever.stages"},
			want: []string{"KAFKA_BOOKMARKS_TOPIC: lever.stages is the topic of the table stages", "KAFKA_STATE_TOPIC: lever.stages is the topic of the bookmarks"},
		},
		"a prefix must fit into topic names": {
			vars: map[string]string{"KAFKA_TOPIC_PREFIX": strings.Repeat("x", 240)},
			want: []string{"KAFKA_TOPIC_PREFIX: is too long; use at most 230 characters"},
		},
		"a prefix is a name":          {vars: map[string]string{"KAFKA_TOPIC_PREFIX": "a b"}, want: []string{"KAFKA_TOPIC_PREFIX:"}},
		"topic settings need a key":   {vars: map[string]string{"KAFKA_TOPIC_CONFIG": "compact"}, want: []string{`KAFKA_TOPIC_CONFIG: "compact" is not a setting`}},
		"topic settings are set once": {vars: map[string]string{"KAFKA_TOPIC_CONFIG": "a=1,a=2"}, want: []string{"KAFKA_TOPIC_CONFIG: a is set twice"}},
		"certificates contradict TLS=false": {
			vars: map[string]string{"KAFKA_TLS": "false", "KAFKA_CA_FILE": "/ca"}, want: []string{"KAFKA_TLS: is false, but certificates are given"},
		},
		"a certificate needs its key": {vars: map[string]string{"KAFKA_CERT_FILE": "/c"}, want: []string{"KAFKA_KEY_FILE: is not set"}},
		"files are read if the system is needed": {
			need: NeedLever | NeedKafka,
			vars: map[string]string{"LEVER_TOKEN_FILE": empty, "KAFKA_BROKERS": "a:1", "KAFKA_CA_FILE": filepath.Join(dir, "none")},
			want: []string{"LEVER_TOKEN_FILE: the file " + empty + " is empty", "KAFKA_CA_FILE: cannot read the file"},
		},
		"files are not read if the system is not needed": {vars: map[string]string{"LEVER_TOKEN_FILE": empty, "KAFKA_CA_FILE": empty}},
		"a file without certificates": {
			need: NeedRegistry, vars: map[string]string{"SCHEMA_REGISTRY_URL": "https://x", "SCHEMA_REGISTRY_CA_FILE": empty},
			want: []string{"SCHEMA_REGISTRY_CA_FILE: the file " + empty + " holds no certificate"},
		},
		"a secret and its file exclude each other": {
			need: NeedLever, vars: map[string]string{"LEVER_TOKEN": "x", "LEVER_TOKEN_FILE": large},
			want: []string{"LEVER_TOKEN: is set, and so is LEVER_TOKEN_FILE; keep one of them"},
		},
		"a secret's file has a size": {need: NeedLever, vars: map[string]string{"LEVER_TOKEN_FILE": large}, want: []string{"LEVER_TOKEN_FILE: the file " + large + " is larger than"}},
		"a secret that is taken for its file's name is not repeated": {
			need: NeedLever | NeedKafka,
			vars: map[string]string{
				"LEVER_TOKEN_FILE": "hunter2", "KAFKA_BROKERS": "a:1", "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
				"KAFKA_SASL_TOKEN_FILE": strings.Repeat("hunter2/", 40) + strings.Repeat("hunter2", 80),
			},
			want: []string{
				"it takes the name of a file, not the secret itself",
				"it takes the name of a file, not the secret itself",
			},
		},
		"a secret's file is no directory":    {need: NeedLever, vars: map[string]string{"LEVER_TOKEN_FILE": dir}, want: []string{"LEVER_TOKEN_FILE: cannot read the file"}},
		"SASL needs user and password":       {vars: map[string]string{"KAFKA_SASL_MECHANISM": "PLAIN"}, want: []string{"KAFKA_SASL_USERNAME: is not set", "KAFKA_SASL_PASSWORD: is not set"}},
		"a SASL password needs a mechanism":  {vars: map[string]string{"KAFKA_SASL_PASSWORD": "x"}, want: []string{"KAFKA_SASL_MECHANISM: is not set"}},
		"a SASL mechanism must be known":     {vars: map[string]string{"KAFKA_SASL_MECHANISM": "GSSAPI", "KAFKA_SASL_USERNAME": "x"}, want: []string{`KAFKA_SASL_MECHANISM: "GSSAPI" is not known; use PLAIN,`}},
		"a registry's user needs a password": {vars: map[string]string{"SCHEMA_REGISTRY_USERNAME": "x"}, want: []string{"SCHEMA_REGISTRY_PASSWORD: is not set"}},
		"an address to listen on":            {vars: map[string]string{"HTTP_ADDR": "8080"}, want: []string{`HTTP_ADDR: "8080" is not an address to listen on; use host:port, :port or off`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, test.need, test.vars)
			got := problemsOf(t, err)
			if len(got) != len(test.want) {
				t.Fatalf("got %d mistakes, want %d:\n%s", len(got), len(test.want), strings.Join(got, "\n"))
			}
			for i, want := range test.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("got  %s\nwant %s", got[i], want)
				}
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a password is in the error: %v", err)
			}
		})
	}
}

func TestErrorListsEveryMistakeOnItsLine(t *testing.T) {
	_, err := load(t, NeedLever|NeedKafka, nil)
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], "2 mistakes") || !strings.HasPrefix(lines[1], "  LEVER_TOKEN: ") {
		t.Errorf("got %s", err)
	}
}

func TestTLSIsImpliedByCertificates(t *testing.T) {
	c, err := load(t, 0, map[string]string{"KAFKA_CA_FILE": "/ca"})
	if err != nil || !c.Kafka.TLS {
		t.Errorf("TLS is not on: %v", err)
	}
}

func TestWarnings(t *testing.T) {
	for name, test := range map[string]struct {
		vars map[string]string
		want string
	}{
		"none by default":                    {map[string]string{"LEVER_TOKEN": "x"}, ""},
		"none for a sandbox on loopback":     {map[string]string{"LEVER_TOKEN": "x", "LEVER_API_URL": "http://127.0.0.1:1/v1", "LEVER_RATE": "1000"}, ""},
		"a token in clear, in capitals":      {map[string]string{"LEVER_TOKEN": "x", "LEVER_API_URL": "HTTP://lever.example/v1"}, "LEVER_API_URL"},
		"a token in clear":                   {map[string]string{"LEVER_TOKEN": "x", "LEVER_API_URL": "http://lever.example/v1"}, "LEVER_API_URL"},
		"more than Lever allows":             {map[string]string{"LEVER_RATE": "11"}, "LEVER_RATE"},
		"a Kafka password in clear":          {map[string]string{"KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USERNAME": "u", "KAFKA_SASL_PASSWORD": "p"}, "KAFKA_SASL_MECHANISM"},
		"a registry password in clear":       {map[string]string{"SCHEMA_REGISTRY_URL": "http://r", "SCHEMA_REGISTRY_USERNAME": "u", "SCHEMA_REGISTRY_PASSWORD": "p"}, "SCHEMA_REGISTRY_URL"},
		"a start date that is to come":       {map[string]string{"LEVER_START_DATE": "2999-01-01"}, "LEVER_START_DATE"},
		"none for a start date that was":     {map[string]string{"LEVER_START_DATE": "2024-01-01"}, ""},
		"not of another host named likewise": {map[string]string{"LEVER_RATE": "11", "LEVER_API_URL": "https://notlever.co"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := load(t, 0, test.vars)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(c.Warnings(), "\n")
			if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want one about %q", got, test.want)
			}
		})
	}
}

func FuzzLoad(f *testing.F) {
	for i, v := range Variables() {
		f.Add(uint8(i), v.Default)
	}
	f.Add(uint8(0), "a,b=c")
	f.Fuzz(func(t *testing.T, which uint8, value string) {
		if strings.ContainsRune(value, 0) {
			t.Skip("no environment holds this")
		}
		vars := Variables()
		v := vars[int(which)%len(vars)]
		c, err := load(t, 0, map[string]string{v.Name: value})
		if err != nil {
			for _, line := range problemsOf(t, err) {
				if strings.HasSuffix(line, ": ") {
					t.Errorf("%q: a mistake without a text", line)
				}
			}
			return
		}
		if c.IsSet(v.Name) != (value != "") {
			t.Errorf("IsSet(%s) is %v with %q", v.Name, c.IsSet(v.Name), value)
		}
		if c.Lever.Rate <= 0 || c.Lever.PollInterval <= 0 || c.Kafka.Partitions <= 0 || c.Lever.DeleteGuard < 0 || c.Lever.DeleteGuard > 1 {
			t.Errorf("%s=%q was taken: %+v", v.Name, value, c.Lever)
		}
	})
}

// Scheme and host of a URL have no case: https://API.Lever.co is Lever's, and not another account.
func TestCapitalsInAURLMeanNothing(t *testing.T) {
	c, err := load(t, 0, map[string]string{"LEVER_API_URL": "HTTPS://API.Lever.co/v1/", "LEVER_OAUTH_CLIENT_ID": "c", "SCHEMA_REGISTRY_URL": "https://Host:8081/A%2Fb/"})
	if err != nil {
		t.Fatal(err)
	}
	if api, tokens, registry := c.Lever.APIURL, c.Lever.OAuthTokenURL, c.Registry.URL; api != "https://api.lever.co/v1" || tokens != "https://auth.lever.co/oauth/token" || registry != "https://host:8081/A%2Fb" {
		t.Errorf("API %s, tokens %q, registry %s", api, tokens, registry)
	}
}

// A leading zero does not make a number octal: the partitions of a topic cannot be undone.
func TestNumbersWithALeadingZeroAreDecimal(t *testing.T) {
	c, err := load(t, 0, map[string]string{"KAFKA_PARTITIONS": "012", "LEVER_BURST": "08", "KAFKA_REPLICATION_FACTOR": "-01", "POLL_INTERVAL": "010s"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Kafka.Partitions != 12 || c.Lever.Burst != 8 || c.Kafka.ReplicationFactor != -1 || c.Lever.PollInterval != 10*time.Second {
		t.Errorf("%d partitions, burst %d, %d replicas, %v", c.Kafka.Partitions, c.Lever.Burst, c.Kafka.ReplicationFactor, c.Lever.PollInterval)
	}
}

func TestStartDates(t *testing.T) {
	for value, want := range map[string]string{
		"03/09/2024": "2024-03-09T00:00:00Z", "2024-03-09": "2024-03-09T00:00:00Z",
		"2024-03-09T12:00:00+02:00": "2024-03-09T10:00:00Z", "2024-03-09T12:00:00": "2024-03-09T12:00:00Z",
	} {
		var d Date
		if err := d.Set(value); err != nil || d.String() != want {
			t.Errorf("%s: %s, %v, want %s", value, d, err, want)
		}
	}
	for _, bad := range []string{"yesterday", "13/09/2024", "2024-02-30", "9.3.2024"} {
		var d Date
		if err := d.Set(bad); err == nil || !strings.Contains(err.Error(), "MM/DD/YYYY") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
