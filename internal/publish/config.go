package publish

import (
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leverstream/leverstream/avro"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/mask"
)

// Config says what the writer writes, and where. All fields are required unless they
// say otherwise.
type Config struct {
	// Account is the name of the Lever account; Prefix is the first part of the topics'
	// names. The transactional id is leverstream-<prefix>-<account>.
	Account, Prefix string
	// BookmarksTopic and StateTopic are the names of the compacted topics.
	BookmarksTopic, StateTopic string
	// Tables are the selected tables.
	Tables []cdc.Table
	// Kafka are the options of every client: brokers, TLS, SASL.
	Kafka []kgo.Opt
	// Partitions, ReplicationFactor and TopicConfig are for data topics that do not
	// exist yet.
	Partitions        int32
	ReplicationFactor int16
	TopicConfig       map[string]string
	// Compression is the name of a codec: "zstd", "snappy", "lz4", "gzip" or "none".
	Compression string
	Format      avro.Format
	KeyFormat   avro.KeyFormat
	Registry    Registry
	// StateDir holds the local copy of the state, in a directory of its own for each
	// cluster, prefix and account.
	StateDir string
	// Candidates is how candidates and their children are read; empty for derived.
	Candidates string
	// Confidentiality, APIHost and StartDate are part of the incarnation.
	Confidentiality, APIHost, StartDate string
	// Masks are the rules by which fields are left out or hashed; nil if there are none.
	Masks *mask.Rules
	// Version is the program's.
	Version string
	// Instance is unique to this process.
	Instance string
	// EraseInterval is how often the values of deleted rows are removed from the files of the
	// local state; 0 is half an hour.
	EraseInterval time.Duration
	// TakeOver deposes another owner at once instead of waiting for it.
	TakeOver bool
	// WasOwner says that this instance has been the owner before: it opens again only to go on.
	// A live owner that it finds has replaced it, and is an *OwnedError; it neither waits for
	// that one nor deposes it in turn, whatever TakeOver says.
	WasOwner bool
	Clock    *cdc.Clock
	// Now is the time of day, which may jump; nil is this machine's.
	Now    func() time.Time
	Logger *slog.Logger
	// Fatal is called when the local state cannot be written (see state.Open). It must
	// not return.
	Fatal func(error)
	// Owns is called by Open when the owner record is committed. Open may still fail after
	// that; the instance has been the owner all the same. Optional.
	Owns func()
	// Opening is called again and again while Open gets on, with what it is doing.
	// Optional.
	Opening func(what string)
	// Committed is called after every commit. Optional.
	Committed func(Commit)
	// Stats counts what is committed; several writers may share it, one after the other.
	// Optional.
	Stats *Stats
}

// Commit describes a committed group, for metrics and progress.
type Commit struct {
	// Units, Rows and Events are counts; Rows includes those that had not changed.
	Units, Rows, Events int
	// Letters is the number of dead letters.
	Letters int
	// Drift counts fields that did not fit the schemas and are kept in _extra.
	Drift int
	// LSN is the log sequence number of the last event.
	LSN int64
	// Bytes is the size of the records before compression.
	Bytes int
	// Took is the time from the beginning of the comparison to the end of the commit.
	Took time.Duration
}

const (
	// maxGroupRows, maxGroupBytes (of events) and maxGroupWait bound a group: a commit
	// costs about 30 ms however small it is.
	maxGroupRows  = 5_000
	maxGroupBytes = 8 << 20
	maxGroupWait  = 250 * time.Millisecond
	// enoughRows are worth a commit: more are taken if they wait, and not waited for.
	enoughRows = 1_000
	// quiet is how long the queue must be empty before a smaller group is committed.
	quiet = 20 * time.Millisecond
	// queueLength bounds the units that wait to be committed: those that arrive while a
	// transaction ends.
	queueLength = 1024
	// transactionTimeout is when the broker aborts a transaction that its producer does
	// not end. An open transaction holds up every read_committed reader.
	transactionTimeout = 60 * time.Second
	// produceTimeout is when the writer gives up a transaction.
	produceTimeout = 45 * time.Second
	// abortTimeout is how long it may take to abort one that failed.
	abortTimeout = 5 * time.Second
	// hurriedAbort is that when the program was told to stop and its time is over.
	hurriedAbort = 500 * time.Millisecond
	// renewInterval is how often the owner record is renewed, and freshFor how long
	// others believe it.
	renewInterval = 10 * time.Second
	freshFor      = 45 * time.Second
	// renewEarlier is by how much a transaction that is made anyway renews it before it is due.
	renewEarlier = 2 * time.Second
	// watchFor is how long an owner whose record is not fresh is watched.
	watchFor = renewInterval + 2*time.Second
	// eraseInterval is the default of Config.EraseInterval: what is erased in Kafka must be
	// gone from the local state within an hour.
	eraseInterval = 30 * time.Minute
	// commitRing is the number of commit records that are kept in the state topic.
	commitRing = 4096
)

// transactionalID is the same for every producer of the account, so that a new owner
// fences the one before.
func (c *Config) transactionalID() string { return "leverstream-" + c.Prefix + "-" + c.Account }

func (c *Config) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

// opening tells how Open gets on.
func (c *Config) opening(what string) {
	if c.Opening != nil {
		c.Opening(what)
	}
}
