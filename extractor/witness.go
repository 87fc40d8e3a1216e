package extractor

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/leverstream/leverstream/internal/cdc"
)

// witnesses tell one record that cannot be read from a Lever that cannot be read: if the same
// is asked of another record, and answered, it is the record. They remember for each kind of
// request the record for which it was answered last.
type witnesses struct {
	mu   sync.Mutex
	last map[string]string
	// lists are the lists that were served lately, and when.
	lists map[string]time.Time
}

// believedFor is how long a list that was served speaks for its records.
const believedFor = 10 * time.Second

// believe says that a 404 for a record of a list can be believed: the list is served. It is
// not while something on the way answers 404 to everything.
func (e *Extractor) believe(ctx context.Context, path string, class cdc.Class) error {
	w := &e.witnesses
	w.mu.Lock()
	lately := time.Since(w.lists[path]) < believedFor
	w.mu.Unlock()
	if lately {
		return nil
	}
	if _, err := e.Lever.Get(ctx, cdc.Request{Class: class, Path: path, Limit: 1}); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: Lever says that a record does not exist, and does not serve the list of such records either (%w)", cdc.ErrUnavailable, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lists == nil {
		w.lists = map[string]time.Time{}
	}
	w.lists[path] = time.Now()
	return nil
}

// answered notes that the kind of request was answered for the record.
func (w *witnesses) answered(kind, key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last == nil {
		w.last = map[string]string{}
	}
	w.last[kind] = key
}

func (w *witnesses) of(kind string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last[kind]
}

// A question is a request that is asked of single rows of a table, each by its key.
type question struct {
	table string
	// kind is the path with ":id" in the key's place, "/opportunities/:id/offers".
	kind    string
	request cdc.Request // without its path
}

func (q question) of(key string) cdc.Request {
	r := q.request
	r.Path = strings.Replace(q.kind, ":id", url.PathEscape(key), 1)
	return r
}

// ask does what it takes to have a question answered for a row. If that fails while the same
// is answered for another row, it is done once more; broken says that it failed again, so
// that it is this row that cannot be read, and not Lever.
func (e *Extractor) ask(ctx context.Context, q question, key string, do func() error) (broken bool, err error) {
	unread := func() bool {
		return ctx.Err() == nil && (errors.Is(err, cdc.ErrUnavailable) || errors.Is(err, cdc.ErrRejected))
	}
	if err = do(); unread() && e.otherServed(ctx, q, key) {
		err = do()
		broken = unread()
	}
	if err == nil {
		e.witnesses.answered(q.kind, key)
	}
	return broken, err
}

// keeps says of a single row that Lever was asked for with ask whether it is kept as it is: it
// is broken, or this key may not see it (it became confidential), and the rest can go on.
func (e *Extractor) keeps(q question, key string, broken bool, err error) bool {
	if broken {
		e.unread.Add(1)
		e.Logger.Warn("one record cannot be read; it stays as it is, and is asked for again in the next sweep", "path", q.kind, "id", key, "error", err)
	}
	return broken || errors.Is(err, cdc.ErrForbidden)
}

// otherServed says that the question is answered for another row: for the last one for which
// it was, or for one of the next few.
func (e *Extractor) otherServed(ctx context.Context, q question, key string) bool {
	const few = 5
	others := []string{e.witnesses.of(q.kind)}
	if others[0] == "" || others[0] == key {
		var err error
		if others, err = e.State.KeysAfter(q.table, key, few); err != nil {
			return false
		}
		if len(others) < few {
			first, err := e.State.KeysAfter(q.table, "", few-len(others))
			if err != nil {
				return false
			}
			others = append(others, first...)
		}
	}
	for _, other := range others {
		if other == key {
			continue
		}
		if _, err := e.Lever.Get(ctx, q.of(other)); err == nil || errors.Is(err, cdc.ErrNotFound) {
			return true
		}
	}
	return false
}
