package extractor

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync/atomic"

	"github.com/leverstream/leverstream/internal/cdc"
)

// ErrOtherAccount says that the key belongs to another Lever account than the one
// that was replicated so far.
var ErrOtherAccount = errors.New("the API key belongs to another Lever account than the rows replicated so far (Lever does not know them with this key): check LEVER_TOKEN, or choose another KAFKA_TOPIC_PREFIX for this account")

// ErrKeyChanged says that other credentials are in use than those with which the account
// was recognised. Another Extractor recognises it anew before it reads anything.
var ErrKeyChanged = errors.New("the credentials for Lever have changed; the account must be recognised again")

// sameKey is Lever as the credentials show it for which the account was recognised. What
// others show is not believed: it may be another account, whose lists lack every row.
type sameKey struct {
	Lever

	key atomic.Int64 // 0: not known yet
}

// Get asks Lever. It fails with ErrKeyChanged if the answer was given to other credentials.
func (s *sameKey) Get(ctx context.Context, r cdc.Request) (cdc.Page, error) {
	p, err := s.Lever.Get(ctx, r)
	if p.Key != 0 && !s.key.CompareAndSwap(0, int64(p.Key)) && s.key.Load() != int64(p.Key) {
		return cdc.Page{}, ErrKeyChanged
	}
	return p, err
}

// knownBy are the tables whose rows can be asked for one by one, and where.
var knownBy = []struct{ table, path string }{
	{"opportunities", opportunitiesPath},
	{"candidates", opportunitiesPath},
	{"postings", "/postings"},
	{"requisitions", "/requisitions"},
	{"archive_reasons", "/archive_reasons"},
}

// sameAccount checks that Lever still answers for the account whose rows are known,
// selected or not: reading another one would delete every row and create others. Users
// and stages tell. If they are not known, or cannot be read, the rows of other tables
// are asked for.
func (e *Extractor) sameAccount(ctx context.Context) error {
	strange := false
	var failed error
	for _, f := range fullLists() {
		if f.table != "users" && f.table != "stages" || e.State.Count(f.table) == 0 {
			continue
		}
		known, unknown, err := e.recognise(ctx, f)
		switch {
		case errors.Is(err, cdc.ErrForbidden):
			continue
		case fatal(ctx, err), errors.Is(err, cdc.ErrUnauthorized):
			return err
		case err != nil: // something else may tell
			failed = errors.Join(failed, fmt.Errorf("read %s to recognise the account: %w", f.path, err))
			continue
		case known:
			return nil
		}
		strange = strange || unknown
	}
	for _, by := range knownBy {
		switch known, unknown, err := e.recogniseRows(ctx, by.table, by.path); {
		case fatal(ctx, err), errors.Is(err, cdc.ErrUnauthorized):
			return err
		case err != nil:
			failed = errors.Join(failed, fmt.Errorf("read %s to recognise the account: %w", by.path, err))
		case known:
			return nil
		case unknown:
			strange = true
		}
	}
	switch {
	case strange:
		return ErrOtherAccount
	case failed != nil:
		return failed
	}
	return nil // nothing to recognise it by
}

// recogniseRows says whether Lever knows one of the table's first rows, or none of so
// many that they cannot all have been deleted.
func (e *Extractor) recogniseRows(ctx context.Context, table, path string) (known, unknown bool, err error) {
	keys, err := e.State.KeysAfter(table, "", leastGuarded)
	if err != nil {
		return false, false, errors.Join(errState, err)
	}
	missing := 0
	for _, key := range keys {
		_, err := e.Lever.Get(ctx, cdc.Request{Class: cdc.ClassCheck, Path: path + "/" + url.PathEscape(key)})
		switch {
		case err == nil:
			return true, false, nil
		case errors.Is(err, cdc.ErrNotFound):
			missing++
		case !errors.Is(err, cdc.ErrForbidden):
			return false, false, err
		}
	}
	if missing < leastGuarded {
		return false, false, nil
	}
	return false, true, e.believe(ctx, path, cdc.ClassCheck)
}

// recognise says whether a row of the list is known, and whether one is not. Stages
// that every account has, such as lead-new, say nothing. Where no others are known, nor does
// another that is not.
func (e *Extractor) recognise(ctx context.Context, f fullList) (known, unknown bool, err error) {
	telling := false
	for key, err := range e.State.Keys(f.table) {
		if err != nil {
			return false, false, errors.Join(errState, err)
		}
		if telling = len(key) == uuidLength; telling {
			break
		}
	}
	if !telling {
		return false, false, nil
	}
	q := url.Values{}
	for k, v := range f.query {
		q.Set(k, v)
	}
	r := cdc.Request{Class: cdc.ClassCheck, Path: f.path, Query: q, Limit: pageSize}
	for {
		p, err := e.Lever.Get(ctx, r)
		if err != nil {
			return false, false, err
		}
		for _, rec := range p.Data {
			key := text(rec, "id")
			if len(key) != uuidLength {
				continue
			}
			if _, known, err = e.State.Row(f.table, key); err != nil {
				return false, false, errors.Join(errState, err)
			}
			if known {
				return true, false, nil
			}
			unknown = true
		}
		if p.Next == "" || p.Next == r.Offset {
			return false, unknown, nil
		}
		r.Offset = p.Next
	}
}

// uuidLength is the length of the ids that Lever makes.
const uuidLength = 36
