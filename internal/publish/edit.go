package publish

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/leverstream/leverstream/internal/change"
	"github.com/leverstream/leverstream/offsets"
)

// Entry is a bookmark as it stands in the topic.
type Entry struct {
	Bookmark offsets.Bookmark
	// Value is the record's value, and Err why it cannot be read, if that is so.
	Value []byte
	Err   error
}

// Bookmarks returns the committed bookmarks of the account by table, also of tables that
// are not selected. There are none if the topic does not exist.
func Bookmarks(ctx context.Context, c Config) (map[string]Entry, error) {
	adm, err := c.admin()
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	return readEntries(ctx, &c, adm, readStable)
}

// readEntries reads the bookmarks, with readStable while somebody else may be writing and
// with readToEnd by the owner.
func readEntries(ctx context.Context, c *Config, adm *kadm.Client, read reader) (map[string]Entry, error) {
	out := map[string]Entry{}
	_, err := read(ctx, c.Kafka, adm, c.BookmarksTopic, nil, func(r *kgo.Record) error {
		key, err := offsets.ParseKey(r.Key)
		if err != nil {
			return damaged(r, "", err)
		}
		switch {
		case key.Account != c.Account || key.Owner:
		case r.Value == nil:
			delete(out, key.Table)
		default:
			e := Entry{Value: r.Value}
			e.Bookmark, e.Err = offsets.Parse(r.Value)
			out[key.Table] = e
		}
		return nil
	})
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		return out, nil
	}
	return out, err
}

// EditBookmarks changes bookmarks while no producer runs. edit gets them as they are and
// returns the new ones by table, nil to reset one; tables that it does not return stay.
//
// The edit goes through the same gate as a producer: it fences whoever was the owner of
// the account, and writes all bookmarks and the release of the account in one
// transaction. While a producer is alive it is refused with an *OwnedError, unless
// Config.TakeOver is set: then that producer finds itself fenced at its next commit, finds
// no other owner, and goes on from the edited bookmarks. If it does so while the edit is
// under way, the edit is made once more.
func EditBookmarks(ctx context.Context, c Config, edit func(map[string]Entry) (map[string]*offsets.Bookmark, error)) (err error) {
	adm, err := c.admin()
	if err != nil {
		return err
	}
	defer adm.Close()
	c.Tables = nil // their topics are the producer's business
	w := &Writer{c: c, started: c.now(), tables: map[string]*change.Table{}}
	if w.topics, err = ensureTopics(ctx, adm, &c); err != nil {
		return err
	}
	if _, err := standby(ctx, &c, adm, deadHere, false); err != nil {
		return err
	}
	// Before anybody is fenced: an edit that makes no sense disturbs nobody.
	if err := tried(ctx, &c, adm, edit); err != nil {
		return err
	}
	const tries = 5
	for try := 1; ; try++ {
		err := w.edit(ctx, adm, edit)
		if try == tries || !errors.Is(err, kerr.InvalidProducerEpoch) && !errors.Is(err, kerr.ProducerFenced) && !errors.Is(err, kerr.InvalidTxnState) {
			return err
		}
	}
}

// edit fences the owner and writes what the edit makes of the bookmarks.
func (w *Writer) edit(ctx context.Context, adm *kadm.Client, edit func(map[string]Entry) (map[string]*offsets.Bookmark, error)) error {
	if err := w.become(ctx, adm, deadHere, false); err != nil {
		return errors.Join(err, w.discard())
	}
	defer w.client.Close()
	entries, err := readEntries(ctx, &w.c, adm, readToEnd)
	if err != nil {
		return err
	}
	edited, editErr := edit(entries)
	if editErr != nil {
		edited = nil // the account must be released all the same
	}
	tx := transaction{w: w, now: w.c.now()}
	for table, b := range edited {
		var value []byte
		if b != nil {
			if value, err = b.Marshal(); err != nil {
				return fmt.Errorf("bookmark of %s: %w", table, err)
			}
		}
		tx.add(w.c.BookmarksTopic, offsets.Key(w.c.Account, table), value)
	}
	if err := tx.owner(true); err != nil {
		return err
	}
	if err := tx.commit(ctx); err != nil {
		return errors.Join(editErr, fmt.Errorf("write the bookmarks: %w", err))
	}
	return editErr
}

// tried makes the edit without writing it.
func tried(ctx context.Context, c *Config, adm *kadm.Client, edit func(map[string]Entry) (map[string]*offsets.Bookmark, error)) error {
	entries, err := readEntries(ctx, c, adm, readStable)
	if err != nil {
		return err
	}
	_, err = edit(entries)
	return err
}
