package lever

import (
	"errors"

	"github.com/leverstream/leverstream/internal/cdc"
)

// decodePage decodes an answer's body: {"data": [...] or {...}, "hasNext": bool,
// "next": token}. Numbers stay as Lever wrote them (json.Number). It fills Data and
// Next. The error completes the sentence "the answer ..." and quotes nothing.
//
// The member names are compared exactly, unlike in a struct, where encoding/json
// would take "Data" for "data".
func decodePage(body []byte) (cdc.Page, error) {
	top, err := decode(body)
	if err != nil {
		return cdc.Page{}, err
	}
	envelope, ok := top.(map[string]any)
	if !ok {
		return cdc.Page{}, errors.New("is not a JSON object")
	}
	data, ok := envelope["data"]
	if !ok {
		return cdc.Page{}, errors.New("has no data")
	}
	var p cdc.Page
	switch data := data.(type) {
	case map[string]any:
		p.Data = []map[string]any{data}
	case []any:
		p.Data = make([]map[string]any, len(data))
		objects := 0
		for i, item := range data {
			if p.Data[i], ok = item.(map[string]any); ok {
				objects++
			} else {
				// A record without a key: it is put aside, and the list goes on.
				p.Data[i] = map[string]any{"": item}
			}
		}
		if objects == 0 && len(data) > 0 {
			return cdc.Page{}, errors.New("has a list with nothing in it that is an object")
		}
	default:
		return cdc.Page{}, errors.New("has data that is neither a list nor an object")
	}
	next, err := nextToken(envelope)
	if err != nil {
		return cdc.Page{}, err
	}
	p.Next = next
	return p, nil
}

// nextToken returns the token of the following page, empty if there is none. Some
// lists leave out hasNext; then next alone decides.
func nextToken(envelope map[string]any) (string, error) {
	var next string
	switch n := envelope["next"].(type) {
	case nil:
	case string:
		next = n
	default:
		return "", errors.New("has a next that is not a string")
	}
	switch more := envelope["hasNext"].(type) {
	case nil:
		return next, nil
	case bool:
		if !more {
			return "", nil
		}
		// Taking this for the last page would make rows look deleted.
		if next == "" {
			return "", errors.New("says that there is a next page, but not which")
		}
		return next, nil
	default:
		return "", errors.New("has a hasNext that is neither true nor false")
	}
}
