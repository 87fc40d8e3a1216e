package state

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/leverstream/leverstream/internal/cdc"
)

const (
	// memTableSize is what is gathered in memory before it becomes a file, twice at most, and
	// blockSize is what is held of the files.
	memTableSize, memTables = 16 << 20, 2
	// fileSize is that of the files, as compressed, of which so many are held open: what is
	// looked up is anywhere, and to open a file costs many times what it takes to look into it.
	fileSize, openFiles = 16 << 20, 512
	blockSize           = 12 << 20
	// compactAt is how many layers of new files there may be before they are merged into the
	// old ones, which rewrites most of those: locators come in no order of their keys. A lookup
	// asks the filter of each layer. stopAt is when writes wait for it.
	compactAt, stopAt = 24, 72
	// storeVersion is part of the identity: a store of another layout is rebuilt.
	storeVersion = 2
)

// Kinds of entries.
const (
	kindRow    = 'r'
	kindRecord = 'v'
	kindParent = 'p'
	kindClaim  = 'c'
	kindFollow = 'f'
	kindErase  = 'e'
	kindMeta   = 'm'
)

// ErrLocked says that another process has the store open.
var ErrLocked = errors.New("another process has the local state open")

// ErrDamaged says that the store cannot be read. The next Open empties it.
var ErrDamaged = errors.New("the local state is damaged")

// Identity says of what a store is the copy.
type Identity struct {
	// ClusterID is the Kafka cluster's, StateTopicID that of the state topic.
	ClusterID    string `json:"cluster_id"`
	StateTopicID string `json:"state_topic_id"`
	Account      string `json:"account"`
	Prefix       string `json:"prefix"`
}

// Store is a local copy of the state topic. Reading is safe from any goroutine,
// also while a batch is being written; one goroutine at a time may write.
type Store struct {
	lock   *pebble.Lock
	dir    string
	id     Identity
	fatal  func(error)
	reason string // why it is fresh; empty if it is not

	mu       sync.RWMutex
	db       *pebble.DB
	position Position
	counts   map[string]int64
	// generation is that of rows which become due now, and due how many there are, up to
	// mostDue (see Erase).
	generation uint64
	due        int
	// loaded is how many records came while the store was fresh.
	loaded int64
	// places is the last place that was given to a row. Only who writes looks at it.
	places uint64
	// novel knows all rows that came since the store was empty; nil if there were others before.
	novel atomic.Pointer[novel]
	// claims says whether there are entries of claims: they are rare, and asked for with each
	// list.
	claims atomic.Int32
}

// What is known of claims.
const (
	claimsUnknown = iota
	claimsNone
	claimsSome
)

// Open opens the store in the directory, which is created if it does not exist. What
// is there and is not a whole copy of what the identity names is emptied.
//
// fatal is called when the database cannot go on, for example because the disk is
// full, from any goroutine; it must not return. Ending the process there loses
// nothing, because Kafka is the truth. The next Open empties the store.
func Open(dir string, id Identity, fatal func(error)) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("STATE_DIR: %w", err)
	}
	lock, err := pebble.LockDirectory(dir, vfs.Default)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("STATE_DIR: %w", err)
	case err != nil:
		return nil, fmt.Errorf("%w (directory %s)", ErrLocked, dir)
	}
	s, err := openLocked(filepath.Join(dir, "rows"), id, fatal)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.lock = lock
	return s, nil
}

// Remove removes a store that no process has open.
func Remove(dir string) error {
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
		return errors.Join(err, fmt.Errorf("%s is no directory", dir))
	}
	lock, err := pebble.LockDirectory(dir, vfs.Default)
	if err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(dir), lock.Close())
}

func openLocked(dir string, id Identity, fatal func(error)) (*Store, error) {
	s := &Store{dir: dir, id: id}
	s.fatal = func(err error) {
		_ = os.WriteFile(s.failedMark(), nil, 0o600) // a full disk may not take even that
		fatal(fmt.Errorf("the local state in STATE_DIR cannot be written: %w; nothing is lost, it is rebuilt from Kafka by the next start: free some space in %s first", err, filepath.Dir(dir)))
	}
	_, err := os.Stat(dir)
	isNew := errors.Is(err, fs.ErrNotExist)
	_, err = os.Stat(s.failedMark())
	failed := err == nil
	if err = nil; !failed {
		err = s.open()
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("STATE_DIR: %w", err)
	case failed:
		s.reason = "it could not be read or written"
	case err == nil && isNew:
		s.reason = "there was none"
	case err == nil:
		s.reason, err = s.load()
	}
	if err != nil {
		s.reason = "it is damaged"
	}
	if s.reason != "" {
		if err := s.Clear(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// failedMark is a file that says that the database could not go on.
func (s *Store) failedMark() string { return s.dir + ".failed" }

// damaged has the next Open empty the store, because it cannot be read.
func (s *Store) damaged(err error) error {
	err = fmt.Errorf("%w: %w", ErrDamaged, err)
	return errors.Join(err, os.WriteFile(s.failedMark(), nil, 0o600))
}

// open opens the database.
func (s *Store) open() error {
	// The database takes its memtables out of the cache.
	cache := pebble.NewCache(blockSize + memTables*memTableSize)
	defer cache.Unref()
	o := &pebble.Options{
		Cache: cache, MemTableSize: memTableSize, Logger: quiet{s.fatal},
		EventListener: &pebble.EventListener{
			// Found in the background; whoever reads the file finds it, too.
			DataCorruption: func(pebble.DataCorruptionInfo) {},
			// The database would try again for ever, and hold up who writes.
			BackgroundError: func(err error) {
				if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
					s.fatal(err)
				}
			},
		},
		MemTableStopWritesThreshold: memTables, L0CompactionThreshold: compactAt, L0StopWritesThreshold: stopAt, MaxOpenFiles: openFiles, FormatMajorVersion: pebble.FormatNewest,
		Cleaner: keepNoLogs{}, Comparer: comparer,
	}
	o.Experimental.SpanPolicyFunc = apart
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.TargetFileSizes[i] = fileSize
	}
	db, err := pebble.Open(s.dir, o)
	if err != nil {
		return fmt.Errorf("open the local state in %s: %w", s.dir, err)
	}
	s.novel.Store(nil)
	s.claims.Store(claimsUnknown)
	s.db, s.position, s.counts, s.loaded, s.places = db, Position{Offsets: map[int32]int64{}}, map[string]int64{}, 0, 0
	return s.loadDue()
}

// apart has the database put records into files of their own: new ones then lie behind all
// that are there, and are not merged with them.
func apart(start []byte) (policy pebble.SpanPolicy, end []byte, err error) {
	// What has the prefix of another entry is no older version of it.
	policy.DisableValueSeparationBySuffix = true
	if records := []byte{kindRecord}; bytes.Compare(start, records) < 0 {
		return policy, records, nil
	}
	return policy, nil, nil
}

// comparer sorts keys as bytes are sorted. The keys of one parent's rows have the same prefix
// for the database's filters, which tell without a read that a parent has none; so have 256
// records that lie side by side, since nobody asks for one that is not there. Any other key is
// its own prefix.
var comparer = func() *pebble.Comparer {
	c := *pebble.DefaultComparer
	c.Name = "leverstream.state"
	c.Split = prefix
	c.Compare = bytes.Compare
	return &c
}()

// prefix returns the length of a key's prefix.
func prefix(key []byte) int {
	const places = 1 + 7 // of the place's eight bytes
	switch {
	case len(key) > places && key[0] == kindRecord:
		return places
	case len(key) == 0 || key[0] != kindParent && key[0] != kindClaim:
		return len(key)
	}
	n := 1
	for range 2 { // table and parent
		end := bytes.Index(key[n:], []byte{0, 1})
		if end < 0 {
			return len(key)
		}
		n += end + 2
	}
	return n
}

// quiet drops the database's messages; its errors are returned to whoever asks.
type quiet struct{ fatal func(error) }

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

// Fatalf is called when the database cannot go on. It does not return.
func (q quiet) Fatalf(format string, args ...any) { q.fatal(fmt.Errorf(format, args...)) }

// meta is what the store says of itself.
type meta struct {
	Store    int      `json:"store"`
	Identity Identity `json:"identity"`
}

var (
	identityKey = []byte{kindMeta, 'i'}
	positionKey = []byte{kindMeta, 'p'}
)

// saved is the position with what goes with it.
type saved struct {
	Position
	Counts map[string]int64 `json:"counts"`
	Places uint64           `json:"places"`
}

// load reads what the store says of itself. A reason is returned if it is not a whole
// copy of what is wanted.
func (s *Store) load() (reason string, err error) {
	var m meta
	found, err := s.get(identityKey, func(b []byte) error { return json.Unmarshal(b, &m) })
	switch {
	case err != nil:
		return "", err
	case !found:
		return "it was never complete", nil
	case m.Store != storeVersion:
		return "it was written by another version of the program", nil
	case m.Identity.ClusterID != s.id.ClusterID:
		return "it belongs to another Kafka cluster", nil
	case m.Identity != s.id:
		return "it belongs to another state topic, prefix or account", nil
	}
	var p saved
	found, err = s.get(positionKey, func(b []byte) error { return json.Unmarshal(b, &p) })
	switch {
	case err != nil:
		return "", err
	case !found || p.AtEnd.IsZero():
		return "it was never complete", nil
	}
	s.position, s.counts, s.places = p.Position, p.Counts, p.Places
	if s.position.Offsets == nil {
		s.position.Offsets = map[int32]int64{}
	}
	if s.counts == nil {
		s.counts = map[string]int64{}
	}
	return "", nil
}

// get hands the value of an entry to use; the bytes are valid until it returns.
func (s *Store) get(key []byte, use func([]byte) error) (found bool, err error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, s.damaged(err)
	}
	defer func() { err = errors.Join(err, closer.Close()) }()
	if err := use(value); err != nil {
		return false, s.damaged(err)
	}
	return true, nil
}

// Fresh says whether the store is empty and must be rebuilt, and why.
func (s *Store) Fresh() (fresh bool, reason string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.reason != "", s.reason
}

// Clear empties the store. It is fresh until a position was set.
func (s *Store) Clear() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db != nil {
		// A damaged database may fail to close; it is deleted anyway.
		_ = s.db.Close()
		s.db = nil
	}
	if err := errors.Join(os.RemoveAll(s.dir), os.RemoveAll(s.failedMark())); err != nil {
		return fmt.Errorf("empty the local state: %w", err)
	}
	if err := s.open(); err != nil {
		return err
	}
	if s.reason == "" {
		s.reason = "it was emptied"
	}
	s.novel.Store(newNovel())
	raw, err := json.Marshal(meta{storeVersion, s.id})
	if err != nil {
		return err
	}
	return s.db.Set(identityKey, raw, pebble.NoSync)
}

// Close closes the store. Rows that are due are erased before, as far as there is time.
func (s *Store) Close() error {
	s.mu.RLock()
	closed := s.db == nil
	s.mu.RUnlock()
	if closed {
		return nil
	}
	erasing, cancel := context.WithTimeout(context.Background(), eraseAtClose)
	defer cancel()
	_ = s.erase(erasing, false) // what is left, or cannot be read, is the next Open's
	s.mu.Lock()
	defer s.mu.Unlock()
	// What is in memory goes to the files, so that the next start need not replay it.
	err := errors.Join(s.db.Flush(), s.db.Close())
	s.db = nil
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// Position returns how far the store has followed the topic. The map is the caller's.
func (s *Store) Position() Position {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.position
	p.Offsets = maps.Clone(p.Offsets)
	return p
}

// Counts returns the number of rows, by table.
func (s *Store) Counts() map[string]int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.counts)
}

// Size returns the bytes that the store takes on disk; 0 when it is closed.
func (s *Store) Size() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.db == nil {
		return 0
	}
	return int64(s.db.Metrics().DiskSpaceUsage())
}

// Get returns the record of a row. Its bytes are the caller's.
//
// It takes a view, because the row may be deleted between the two lookups. A snapshot of the
// database would do, but what is erased while somebody holds one stays in the files.
func (s *Store) Get(table, key string) (r Record, ok bool, err error) {
	v, err := s.View()
	if err != nil {
		return Record{}, false, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	return v.Get(table, key)
}

// errNoRecord says that there is nothing in a row's place.
var errNoRecord = errors.New("a row has no record")

// place returns the place of a row's record, 0 if it has none.
func (s *Store) place(table, key string) (place uint64, err error) {
	_, err = s.get(rowKey(nil, table, key), func(b []byte) (err error) {
		place, err = parsePlace(b)
		return err
	})
	return place, err
}

// Keys yields the keys of all rows of a table, in no particular order. Records that
// know only a dead letter are no rows.
func (s *Store) Keys(table string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		prefix := escape([]byte{kindRow}, table)
		err := s.scan(prefix, nil, func(rest, value []byte) (bool, error) {
			l, err := parseLocator(value)
			if err != nil || !l.row {
				return true, err
			}
			return yield(string(rest), nil), nil
		})
		if err != nil {
			yield("", err)
		}
	}
}

// KeysAfter returns up to limit keys of the table's rows that sort behind after, in
// order.
func (s *Store) KeysAfter(table, after string, limit int) (keys []string, err error) {
	prefix := escape([]byte{kindRow}, table)
	from := append(append(bytes.Clone(prefix), after...), 0)
	if after == "" {
		from = prefix
	}
	err = s.scan(prefix, from, func(rest, value []byte) (bool, error) {
		l, err := parseLocator(value)
		if err != nil {
			return false, err
		}
		if l.row {
			keys = append(keys, string(rest))
		}
		return len(keys) < limit, nil
	})
	return keys, err
}

// Children returns the keys of the rows that belong to the parent, sorted.
func (s *Store) Children(table, parent string) ([]string, error) {
	return s.list(escape(escape([]byte{kindParent}, table), parent))
}

// Claims returns the keys of the rows that the parent serves without owning them,
// sorted.
func (s *Store) Claims(table, parent string) ([]string, error) {
	return s.list(escape(escape([]byte{kindClaim}, table), parent))
}

func (s *Store) list(prefix []byte) (keys []string, err error) {
	err = s.scan(prefix, nil, func(rest, _ []byte) (bool, error) {
		keys = append(keys, string(rest))
		return true, nil
	})
	return keys, err
}

// Since returns up to limit rows of the table whose FollowLSN is above lsn, in the
// order of their FollowLSN.
func (s *Store) Since(table string, lsn int64, limit int) (out []cdc.Version, err error) {
	prefix := escape([]byte{kindFollow}, table)
	from := binary.BigEndian.AppendUint64(bytes.Clone(prefix), uint64(lsn+1))
	err = s.scan(prefix, from, func(rest, _ []byte) (bool, error) {
		if len(rest) < 8 {
			return false, errTruncated
		}
		out = append(out, cdc.Version{LSN: int64(binary.BigEndian.Uint64(rest)), Key: string(rest[8:])})
		return len(out) < limit, nil
	})
	return out, err
}

// scan hands the entries with the prefix to visit, without the prefix, beginning at
// from if that is not nil, until visit returns false.
func (s *Store) scan(prefix, from []byte, visit func(rest, value []byte) (bool, error)) (err error) {
	if from == nil {
		from = prefix
	}
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: after(prefix)})
	if err != nil {
		return s.damaged(err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return s.damaged(err)
		}
		more, err := visit(it.Key()[len(prefix):], value)
		if err != nil {
			return s.damaged(err)
		}
		if !more {
			return nil
		}
	}
	if err := it.Error(); err != nil {
		return s.damaged(err)
	}
	return nil
}

// after returns the first key that is behind all keys with the prefix, which ends in
// a byte below 0xff.
func after(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	end[len(end)-1]++
	return end
}

// escape appends a part and its end. Zero bytes in the part are written as 0 0xff, its
// end as 0 1, so that parts sort and cannot run into each other.
func escape(dst []byte, part string) []byte {
	for i := range len(part) {
		if dst = append(dst, part[i]); part[i] == 0 {
			dst = append(dst, 0xff)
		}
	}
	return append(dst, 0, 1)
}

func rowKey(dst []byte, table, key string) []byte {
	return append(escape(append(dst, kindRow), table), key...)
}
