package state

import (
	"bytes"
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// View reads the store as it is when the view is made. It is for many lookups in a row,
// by one goroutine: an iterator costs more to make than to move. Close it before the store.
type View struct {
	s  *Store
	it *pebble.Iterator
	// unclaimed says that no row has another claimant than its parent, in any table.
	unclaimed bool
	key       []byte // is written anew for each lookup
}

// View returns a view of the store as it is now.
func (s *Store) View() (*View, error) {
	// Most of what is asked for in a first load does not exist, and the filters say so. The
	// database does not ask those of its last level unless it is told to.
	it, err := s.db.NewIter(&pebble.IterOptions{UseL6Filters: true})
	if err != nil {
		return nil, s.damaged(err)
	}
	v := &View{s: s, it: it, unclaimed: s.claims.Load() == claimsNone}
	if s.claims.Load() != claimsUnknown {
		return v, nil
	}
	claims := []byte{kindClaim}
	v.unclaimed = !it.SeekGE(claims) || !bytes.HasPrefix(it.Key(), claims)
	if err := it.Error(); err != nil {
		return nil, errors.Join(s.damaged(err), it.Close())
	}
	if v.unclaimed {
		s.claims.CompareAndSwap(claimsUnknown, claimsNone)
	} else {
		s.claims.Store(claimsSome)
	}
	return v, nil
}

// Get returns the record of a row, as Store.Get does.
func (v *View) Get(table, key string) (r Record, ok bool, err error) {
	v.key = rowKey(v.key[:0], table, key)
	if v.s.novel.Load().isNew(v.key) {
		return Record{}, false, nil
	}
	value, err := v.at(v.key)
	if err != nil || value == nil {
		return Record{}, false, err
	}
	place, err := parsePlace(value)
	if err != nil {
		return Record{}, false, v.s.damaged(err)
	}
	v.key = placeKey(v.key[:0], place)
	if value, err = v.at(v.key); err != nil {
		return Record{}, false, err
	}
	if value == nil {
		return Record{}, false, v.s.damaged(errNoRecord)
	}
	if r, err = ParseRecord(bytes.Clone(value)); err != nil {
		return Record{}, false, v.s.damaged(err)
	}
	r.place = place
	return r, true, nil
}

// at returns the value of an entry, valid until the next lookup; nil if there is none.
func (v *View) at(key []byte) ([]byte, error) {
	if !v.it.SeekPrefixGE(key) || !bytes.Equal(v.it.Key(), key) {
		if err := v.it.Error(); err != nil {
			return nil, v.s.damaged(err)
		}
		return nil, nil
	}
	value, err := v.it.ValueAndErr()
	if err != nil {
		return nil, v.s.damaged(err)
	}
	return value, nil
}

// Children returns the keys of the rows that belong to the parent, sorted.
func (v *View) Children(table, parent string) ([]string, error) {
	return v.list(kindParent, table, parent)
}

// Claims returns the keys of the rows that the parent serves without owning them,
// sorted.
func (v *View) Claims(table, parent string) ([]string, error) {
	if v.unclaimed {
		return nil, nil
	}
	return v.list(kindClaim, table, parent)
}

func (v *View) list(kind byte, table, parent string) (keys []string, err error) {
	prefix := escape(escape([]byte{kind}, table), parent)
	for ok := v.it.SeekPrefixGE(prefix); ok && bytes.HasPrefix(v.it.Key(), prefix); ok = v.it.Next() {
		keys = append(keys, string(v.it.Key()[len(prefix):]))
	}
	if err := v.it.Error(); err != nil {
		return nil, v.s.damaged(err)
	}
	return keys, nil
}

// Close ends the view.
func (v *View) Close() error {
	if err := v.it.Close(); err != nil {
		return v.s.damaged(err)
	}
	return nil
}
