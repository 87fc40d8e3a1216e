package extractor

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"

	"github.com/leverstream/leverstream/internal/cdc"
)

// witnesses tell one record that cannot be read from a Lever that cannot be read: if the same
// is asked of another record, and answered, it is the record. They remember for each kind of
// request the record for which it was answered last.
type witnesses struct {
	mu   sync.Mutex
	last map[string]string
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

// itself says that a question failed for reasons of the row it was asked of: this key may not
// see it, or the same is answered for another row.
func (e *Extractor) itself(ctx context.Context, err error, q question, key string) bool {
	switch {
	case ctx.Err() != nil:
		return false
	case errors.Is(err, cdc.ErrForbidden):
		return true
	case !errors.Is(err, cdc.ErrUnavailable) && !errors.Is(err, cdc.ErrRejected), !e.otherServed(ctx, q, key):
		return false
	}
	e.unread.Add(1)
	return true
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
