package extractor

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/leverstream/leverstream/internal/cdc"
)

// ErrOtherAccount says that the key belongs to another Lever account than the one
// that was replicated so far.
var ErrOtherAccount = errors.New("the API key belongs to another Lever account than the rows replicated so far (none of its users and stages is known): check LEVER_TOKEN, or choose another KAFKA_TOPIC_PREFIX for this account")

// sameAccount checks that Lever still answers for the account whose rows are known:
// reading another one would delete every row and create others. Users and stages tell.
func (e *Extractor) sameAccount(ctx context.Context) error {
	strange := false
	var failed error
	for _, f := range e.full {
		if f.table != "users" && f.table != "stages" || e.State.Count(f.table) == 0 {
			continue
		}
		known, unknown, err := e.recognise(ctx, f)
		switch {
		case errors.Is(err, cdc.ErrForbidden):
			continue
		case fatal(ctx, err), errors.Is(err, cdc.ErrUnauthorized):
			return err
		case err != nil: // the other list may tell
			failed = errors.Join(failed, fmt.Errorf("read %s to recognise the account: %w", f.path, err))
		case known:
			return nil
		}
		strange = strange || unknown
	}
	if failed != nil {
		return failed
	}
	if strange {
		return ErrOtherAccount
	}
	return nil // nothing to recognise it by
}

// recognise says whether a row of the list is known, and whether one is not. Stages
// that every account has, such as lead-new, say nothing.
func (e *Extractor) recognise(ctx context.Context, f *fullReader) (known, unknown bool, err error) {
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
			key := text(rec, e.selected[f.table].Key)
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
