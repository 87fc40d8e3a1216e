package sandbox

import (
	"encoding/json"
	"net/url"
	"strings"
)

// formatToken writes a page token: a JSON array, percent-encoded, which is how
// Lever hands them out (so that a client encodes them a second time).
func formatToken(parts ...any) string {
	return strings.ReplaceAll(url.QueryEscape(string(appendJSON(nil, parts))), "+", "%20")
}

// parseToken reads a page token. The query has been decoded once already; the token
// itself is percent-encoded, so it is decoded again. Shape has a letter for each
// part: n for a number, s for a string.
func parseToken(token, shape string) (numbers []float64, texts []string, ok bool) {
	raw, err := url.PathUnescape(token)
	if err != nil {
		return nil, nil, false
	}
	var parts []any
	if json.Unmarshal([]byte(raw), &parts) != nil || len(parts) != len(shape) {
		return nil, nil, false
	}
	for i, part := range parts {
		switch part := part.(type) {
		case float64:
			numbers = append(numbers, part)
			ok = shape[i] == 'n'
		case string:
			texts = append(texts, part)
			ok = shape[i] == 's'
		default:
			ok = false
		}
		if !ok {
			return nil, nil, false
		}
	}
	return numbers, texts, true
}
