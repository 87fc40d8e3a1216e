package config

import (
	"log/slog"
	"time"
)

// Need says which systems a command talks to, and so which variables must be set.
// Needs are combined with |. Zero is for commands that talk to none: they get the
// names and formats, and no credentials are asked for.
type Need uint

const (
	// NeedLever is for commands that read from Lever.
	NeedLever Need = 1 << iota
	// NeedKafka is for commands that connect to brokers. A command that brings an
	// embedded broker does not need it.
	NeedKafka
	// NeedRegistry is for commands that connect to a schema registry.
	NeedRegistry
	// NeedHTTP is for commands that serve HTTP_ADDR and do not read from a real Lever.
	NeedHTTP
)

// Config is the configuration. The tags of a field are its variable's name
// (envconfig), default, what the reference shows if the default is computed
// (shown), and the description (desc); min, max and oneof are its check, required
// says that a command that needs the section cannot do without it.
type Config struct {
	Lever    Lever    `title:"Lever"`
	Kafka    Kafka    `title:"Kafka"`
	Registry Registry `title:"Schema registry"`
	Events   Events   `title:"Events"`
	Program  Program  `title:"Program"`

	set map[string]bool
}

// Lever says which account is read, and how.
type Lever struct {
	// Token is the API key. Read it anew for each attempt to log in.
	Token Secret `envconfig:"LEVER_TOKEN" desc:"API key; required unless OAuth is used"`
	// OAuthClientID, OAuthClientSecret and OAuthRefreshToken are those of a partner
	// application; the refresh token is the first one.
	OAuthClientID     string `envconfig:"LEVER_OAUTH_CLIENT_ID" desc:"client id of a partner application: OAuth instead of an API key"`
	OAuthClientSecret Secret `envconfig:"LEVER_OAUTH_CLIENT_SECRET" desc:"client secret of the application"`
	OAuthRefreshToken Secret `envconfig:"LEVER_OAUTH_REFRESH_TOKEN" desc:"refresh token from the authorisation; it is used once, then LEVER_OAUTH_TOKEN_FILE counts"`
	// OAuthTokenFile is where the tokens are kept.
	OAuthTokenFile string `envconfig:"LEVER_OAUTH_TOKEN_FILE" desc:"file in which the rotated refresh token is kept; its directory must be durable and writable; required with OAuth"`
	// OAuthTokenURL is the token endpoint. Load fills in Lever's.
	OAuthTokenURL URL `envconfig:"LEVER_OAUTH_TOKEN_URL" shown:"that of LEVER_API_URL's environment" desc:"token endpoint"`
	// APIURL is the root of the API, without a trailing slash.
	APIURL URL `envconfig:"LEVER_API_URL" default:"https://api.lever.co/v1" desc:"root of Lever's API; sandbox accounts: https://api.sandbox.lever.co/v1"`
	// Account is part of the bookmarks' keys, of metrics and of the transactional id.
	Account Name `envconfig:"LEVER_ACCOUNT" default:"default" desc:"name of this account in bookmarks, metrics and the transactional id"`
	// StartDate is zero to replicate everything.
	StartDate Date `envconfig:"LEVER_START_DATE" desc:"MM/DD/YYYY or ISO 8601, UTC: replicate CDC rows created or updated since then, and the children of those; unset = everything"`
	// Tables are the names of the selected tables in the catalogue's order, parents
	// before their children. Load fills it with all tables if nothing was selected.
	Tables []string `envconfig:"LEVER_TABLES" shown:"all 16" desc:"comma-separated tables to replicate; a child needs its parent"`
	// ExcludeFields and HashFields are patterns of fields that are left out, or replaced by
	// a hash (see package mask).
	ExcludeFields Patterns `envconfig:"LEVER_EXCLUDE_FIELDS" desc:"comma-separated table.field paths to leave out, with * and nested fields; @pii = every field that the schemas tag as a person's data"`
	HashFields    Patterns `envconfig:"LEVER_HASH_FIELDS" desc:"comma-separated paths, as above, of text to replace by its HMAC-SHA-256"`
	// HashKey is read once, at the start.
	HashKey Secret `envconfig:"LEVER_HASH_KEY" desc:"key of the hashes, at least 16 characters; required with LEVER_HASH_FIELDS"`
	// Confidential is "auto", "include" or "exclude".
	Confidential string `envconfig:"LEVER_CONFIDENTIAL" default:"auto" oneof:"auto include exclude" desc:"confidential rows: auto (all if the key may see them, else without them and a warning), include, exclude"`
	// Candidates is "derived".
	Candidates string `envconfig:"LEVER_CANDIDATES" default:"derived" oneof:"derived native" desc:"how candidate_* tables are read: derived (from the opportunities, without extra requests) or native (from Lever's deprecated /candidates endpoints)"`
	// Rate is in requests per second.
	Rate float64 `envconfig:"LEVER_RATE" default:"10" min:"0.01" max:"1000000" desc:"requests per second for this key"`
	// Burst is how many requests may be sent at once after a pause.
	Burst int `envconfig:"LEVER_BURST" default:"10" min:"1" max:"1000000" desc:"requests that may be sent at once after a pause (Lever's bucket holds 20); the bucket starts empty"`
	// Concurrency is the most requests in flight.
	Concurrency int `envconfig:"LEVER_CONCURRENCY" default:"16" min:"1" max:"1000" desc:"most requests in flight"`
	// PollInterval is the time between the starts of two increments.
	PollInterval time.Duration `envconfig:"POLL_INTERVAL" default:"10s" min:"1ms" desc:"how often incremental tables and deletion feeds are read"`
	// RefreshInterval is the time between the starts of two full lists.
	RefreshInterval time.Duration `envconfig:"REFRESH_INTERVAL" default:"5m" min:"1ms" desc:"how often full tables, and the full list of requisitions, are read"`
	// SweepInterval is 0 if nothing is swept.
	SweepInterval time.Duration `envconfig:"SWEEP_INTERVAL" default:"24h" min:"0s" desc:"everything that can change unseen is read again at least this often, longer if the account is too large for that; 0 = off"`
	// Overlap is how far a cursor starts before the scan it comes from.
	Overlap time.Duration `envconfig:"LEVER_OVERLAP" default:"5m" min:"0s" desc:"how far a cursor starts before the scan it comes from"`
	// DeleteGuard is the share of a table that may vanish without a deletion feed.
	DeleteGuard Share `envconfig:"LEVER_DELETE_GUARD" default:"10%" desc:"share of a table that may vanish without a deletion feed within a sweep interval; above max(20 rows, share) the table holds and asks"`
}

// Kafka says where the events go. Opts makes client options of it.
type Kafka struct {
	// Brokers are the seed brokers, host:port.
	Brokers Brokers `envconfig:"KAFKA_BROKERS" required:"true" desc:"comma-separated brokers, host:port"`
	// TopicPrefix is the first part of every topic's name.
	TopicPrefix Name `envconfig:"KAFKA_TOPIC_PREFIX" default:"lever" desc:"topics are called <prefix>.<table>"`
	// BookmarksTopic holds the bookmarks. Load fills in the default.
	BookmarksTopic Name `envconfig:"KAFKA_BOOKMARKS_TOPIC" shown:"<prefix>.bookmarks" desc:"compacted topic of the bookmarks"`
	// StateTopic holds the last emitted rows. Load fills in the default.
	StateTopic Name `envconfig:"KAFKA_STATE_TOPIC" shown:"<prefix>.state" desc:"compacted topic of the last emitted rows"`
	// Partitions is for data topics that the program creates.
	Partitions int32 `envconfig:"KAFKA_PARTITIONS" default:"6" min:"1" max:"10000" desc:"partitions of data topics it creates"`
	// ReplicationFactor is -1 for the broker's default.
	ReplicationFactor int16 `envconfig:"KAFKA_REPLICATION_FACTOR" default:"-1" min:"-1" desc:"replicas of topics it creates; -1 = the broker's default"`
	// Compression is "zstd", "none", "gzip", "snappy" or "lz4".
	Compression string `envconfig:"KAFKA_COMPRESSION" default:"zstd" oneof:"zstd none gzip snappy lz4" desc:"compression of record batches: zstd, none, gzip, snappy, lz4"`
	// TopicConfig goes over the defaults of data topics that the program creates.
	TopicConfig TopicConfig `envconfig:"KAFKA_TOPIC_CONFIG" desc:"key=value,... for data topics it creates, over the defaults"`
	// TLS is also true if one of the three files is set.
	TLS bool `envconfig:"KAFKA_TLS" default:"false" shown:"false, true with one of the files below" desc:"connect with TLS"`
	// CAFile holds PEM certificates to trust instead of the system's.
	CAFile string `envconfig:"KAFKA_CA_FILE" desc:"PEM file of the certificate authorities to trust instead of the system's"`
	// CertFile is the client's certificate, for mutual TLS.
	CertFile string `envconfig:"KAFKA_CERT_FILE" desc:"PEM file of the client certificate (mutual TLS)"`
	// KeyFile is the private key of CertFile.
	KeyFile string `envconfig:"KAFKA_KEY_FILE" desc:"PEM file of the client certificate's private key"`
	// SASLMechanism is empty without SASL.
	SASLMechanism string `envconfig:"KAFKA_SASL_MECHANISM" oneof:"PLAIN SCRAM-SHA-256 SCRAM-SHA-512 OAUTHBEARER AWS_MSK_IAM" desc:"PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER (needs KAFKA_SASL_TOKEN) or AWS_MSK_IAM (credentials from the standard AWS variables and files)"`
	// SASLUsername goes with PLAIN and SCRAM.
	SASLUsername string `envconfig:"KAFKA_SASL_USERNAME" desc:"user name for SASL"`
	// SASLPassword goes with PLAIN and SCRAM.
	SASLPassword Secret `envconfig:"KAFKA_SASL_PASSWORD" desc:"password for SASL"`
	// SASLToken goes with OAUTHBEARER.
	SASLToken Secret `envconfig:"KAFKA_SASL_TOKEN" desc:"bearer token for OAUTHBEARER; a file is read again for each connection and when the broker wants a new one"`
}

// Registry says where the schemas are. Opts makes client options of it.
type Registry struct {
	// URL may have a path.
	URL URL `envconfig:"SCHEMA_REGISTRY_URL" required:"true" desc:"Confluent-compatible schema registry; the URL may have a path"`
	// Username is for HTTP basic authentication.
	Username string `envconfig:"SCHEMA_REGISTRY_USERNAME" desc:"user name at the registry"`
	// Password is for HTTP basic authentication.
	Password Secret `envconfig:"SCHEMA_REGISTRY_PASSWORD" desc:"password at the registry"`
	// CAFile holds PEM certificates to trust instead of the system's.
	CAFile string `envconfig:"SCHEMA_REGISTRY_CA_FILE" desc:"PEM file of the certificate authorities to trust instead of the system's"`
	// Register is false if schemas may only be looked up.
	Register bool `envconfig:"SCHEMA_REGISTRY_REGISTER" default:"true" desc:"false: never register a schema, only look it up"`
}

// Events says what the records look like.
type Events struct {
	// Format is "debezium" or "flat".
	Format string `envconfig:"EVENT_FORMAT" default:"debezium" oneof:"debezium flat" desc:"debezium (envelope with before and after) or flat (the row, with __op and __deleted)"`
	// Key is "avro" or "string".
	Key string `envconfig:"EVENT_KEY" default:"avro" oneof:"avro string" desc:"avro (a record of the primary key) or string (the plain primary key)"`
}

// Program is about the process itself.
type Program struct {
	// StateDir is the directory of the local copy of the state. It holds rows, so
	// create it for its owner only.
	StateDir string `envconfig:"STATE_DIR" shown:"user cache directory, else temporary" desc:"local copy of the state; may be deleted at any time, it is rebuilt from Kafka"`
	// HTTPAddr is empty if nothing is served.
	HTTPAddr Addr `envconfig:"HTTP_ADDR" default:"127.0.0.1:8080" desc:"address of health, status and admin; off"`
	// AdminToken is required if HTTPAddr is not loopback.
	AdminToken Secret `envconfig:"ADMIN_TOKEN" desc:"bearer token for what changes state; required if HTTP_ADDR is not loopback"`
	// LogLevel is "debug", "info", "warn" or "error".
	LogLevel string `envconfig:"LOG_LEVEL" default:"info" oneof:"debug info warn error" desc:"debug, info, warn or error"`
	// LogFormat is "auto", "text" or "json".
	LogFormat string `envconfig:"LOG_FORMAT" default:"auto" oneof:"auto text json" desc:"auto (text on a terminal, else json), text or json"`
}

// Level returns LogLevel as slog wants it.
func (p Program) Level() slog.Level {
	switch p.LogLevel {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	default:
		return slog.LevelInfo
	}
}

// IsSet says whether the user set the variable, so that its value is not the
// default. For a secret it is also true if its file was set.
func (c *Config) IsSet(name string) bool { return c.set[name] }
