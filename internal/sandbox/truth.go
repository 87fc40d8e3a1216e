package sandbox

import (
	"bytes"
	"encoding/json"
)

// Truth returns what a perfect reader of one of the sixteen tables would have now, by
// primary key: all rows, confidential and deactivated ones included, as decoded JSON
// with numbers as [json.Number]. The rows of children carry opportunityId, and in the
// tables of candidates candidateId, where Lever's record lacks it. Applications are
// ids in the rows of opportunities and candidates. An unknown table is nil.
func (l *Lever) Truth(table string) map[string]map[string]any {
	l.mu.RLock()
	defer l.mu.RUnlock()
	rows := map[string]map[string]any{}
	switch table {
	case "archive_reasons":
		for n := range l.reasons.list {
			if !l.reasons.list[n].gone {
				rows[l.reasons.list[n].id] = decoded(l.reasons.row(int32(n)))
			}
		}
	case "sources":
		for n := range l.sources.list {
			if !l.sources.list[n].gone {
				rows[l.sources.list[n].text] = decoded(l.sources.row(int32(n)))
			}
		}
	case "stages":
		for n := range l.stages.list {
			if !l.stages.list[n].gone {
				rows[l.stages.list[n].id] = decoded(l.stages.row(int32(n)))
			}
		}
	case "users":
		l.users.decode(rows)
	case "postings":
		l.postings.decode(rows)
	case "requisitions":
		l.requisitions.decode(rows)
	case "opportunities", "candidates":
		l.opportunities.decode(rows)
	case "opportunity_applications", "candidate_applications":
		l.decodeChildren(rows, l.applications, table == "candidate_applications")
	case "opportunity_offers", "candidate_offers":
		l.decodeChildren(rows, l.offers, table == "candidate_offers")
	case "opportunity_referrals", "candidate_referrals":
		l.decodeChildren(rows, l.referrals, table == "candidate_referrals")
	case "opportunity_resumes", "candidate_resumes":
		l.decodeChildren(rows, l.resumes, table == "candidate_resumes")
	default:
		return nil
	}
	return rows
}

func (s *shelf) decode(rows map[string]map[string]any) {
	for n := range s.all() {
		rows[s.id(n)] = decoded(s.row(n))
	}
}

func (l *Lever) decodeChildren(rows map[string]map[string]any, c *children, ofCandidates bool) {
	for n := range l.opportunities.all() {
		id := l.opportunities.id(n)
		for _, child := range c.list(n) {
			row := decoded(child)
			row["opportunityId"] = id
			if ofCandidates {
				row["candidateId"] = id
			}
			rows[child.text("id")] = row
		}
	}
}

// decoded is a record as a reader decodes it. What appendObject writes is JSON, so
// decoding cannot fail; if it did, the nil would differ from every row.
func decoded(o *object) map[string]any {
	d := json.NewDecoder(bytes.NewReader(appendObject(nil, o)))
	d.UseNumber()
	var row map[string]any
	if d.Decode(&row) != nil {
		return nil
	}
	return row
}
