package extractor

import (
	"slices"
	"strings"

	"github.com/leverstream/leverstream/internal/cdc"
)

// Methods of finding changes, as shown to people.
const (
	methodCDC  = "CDC"
	methodFull = "full table"
)

// Tables returns the catalogue: the sixteen tables, parents before their children.
// The slice is the caller's own.
func Tables() []cdc.Table {
	return slices.Clone([]cdc.Table{
		{Name: "archive_reasons", Key: "id", Method: methodFull, Endpoint: "/archive_reasons"},
		{Name: "sources", Key: "text", Method: methodFull, Endpoint: "/sources"},
		{Name: "stages", Key: "id", Method: methodFull, Endpoint: "/stages"},
		{Name: "users", Key: "id", Method: methodFull, Endpoint: "/users"},
		{Name: "postings", Key: "id", Method: methodCDC, ReplicationKey: "updatedAt", Endpoint: "/postings"},
		{Name: "requisitions", Key: "id", Method: methodCDC, ReplicationKey: "createdAt", Endpoint: "/requisitions"},
		{Name: "opportunities", Key: "id", Method: methodCDC, ReplicationKey: "updatedAt", Endpoint: "/opportunities"},
		{Name: "candidates", Key: "id", Method: methodCDC, ReplicationKey: "updatedAt", Endpoint: "/opportunities"},
		child("opportunity_applications", "opportunities", "/opportunities?expand=applications"),
		child("candidate_applications", "candidates", "/opportunities?expand=applications"),
		child("opportunity_offers", "opportunities", "/opportunities/:id/offers"),
		child("candidate_offers", "candidates", "/opportunities/:id/offers"),
		child("opportunity_referrals", "opportunities", "/opportunities/:id/referrals"),
		child("candidate_referrals", "candidates", "/opportunities/:id/referrals"),
		child("opportunity_resumes", "opportunities", "/opportunities/:id/resumes"),
		child("candidate_resumes", "candidates", "/opportunities/:id/resumes"),
	})
}

// child describes a table whose rows hang under an opportunity, or under the
// candidate of the same id (a Lever candidate and its opportunity are one record).
func child(name, parent, endpoint string) cdc.Table {
	fields := []string{"opportunityId"}
	if parent == "candidates" {
		fields = []string{"opportunityId", "candidateId"}
	}
	return cdc.Table{Name: name, Key: "id", Method: methodCDC, Parent: parent, ParentFields: fields, Endpoint: endpoint}
}

// A listing is a list endpoint with a filter by which new and changed rows are
// found: it is read once completely (snapshot) and then from a cursor (increment).
type listing struct {
	// path is the list; path/:id is the single object.
	path string
	// tables are fed by the records of the list.
	tables []string
	// nested are tables whose rows are inside the records, by the record's field.
	nested []nested
	// expand names what the request must expand.
	expand []string
	// cursor is the parameter of the increment.
	cursor string
	// windows says that the list can be cut by created_at, so that its snapshot is
	// read in windows that never move.
	windows bool
	// noSnapshot says that a full read of the same list takes the snapshot's place.
	noSnapshot bool
	// deletions is the feed of deleted records, if there is one.
	deletions string
}

// nested describes rows that arrive inside their parent's record.
type nested struct {
	field  string
	tables []string
	// deletions is their own feed of deletions, if there is one.
	deletions string
}

// opportunitiesPath is the listing of opportunities. A Lever candidate and its
// opportunity are one record with one id, which candidatesPath serves, too: it is
// deprecated, and adds some legacy fields.
const opportunitiesPath, candidatesPath = "/opportunities", "/candidates"

// listings returns the list endpoints to read. With native, candidates are read from
// their own; the feeds of deleted records name the same ids.
func listings(native bool) []listing {
	opportunities := listing{
		path:      opportunitiesPath,
		tables:    []string{"opportunities", "candidates"},
		nested:    []nested{{field: "applications", tables: []string{"opportunity_applications", "candidate_applications"}, deletions: "/applications/deleted"}},
		expand:    []string{"applications"},
		cursor:    "updated_at_start",
		windows:   true,
		deletions: "/opportunities/deleted",
	}
	others := []listing{
		// updated_at_start may only be combined with confidentiality,
		// and no created_at filter exists.
		{path: "/postings", tables: []string{"postings"}, cursor: "updated_at_start", deletions: "/postings/deleted"},
		// An edit does not move createdAt, so the full list is read as well.
		{path: "/requisitions", tables: []string{"requisitions"}, cursor: "created_at_start", noSnapshot: true},
	}
	if !native {
		return append([]listing{opportunities}, others...)
	}
	candidates := opportunities
	candidates.path = candidatesPath
	candidates.tables, opportunities.tables = split(opportunities.tables)
	apart := func(tables []string) []nested {
		n := opportunities.nested[0]
		n.tables = tables
		return []nested{n}
	}
	ofCandidates, ofOpportunities := split(opportunities.nested[0].tables)
	candidates.nested, opportunities.nested = apart(ofCandidates), apart(ofOpportunities)
	return append([]listing{opportunities, candidates}, others...)
}

// split tells the tables of candidates from those of opportunities.
func split(tables []string) (candidates, opportunities []string) {
	for _, t := range tables {
		if strings.HasPrefix(t, "candidate") {
			candidates = append(candidates, t)
		} else {
			opportunities = append(opportunities, t)
		}
	}
	return candidates, opportunities
}

// A full list is read whole, each time, and compared with what is known.
type fullList struct {
	path, table string
	// query holds fixed parameters.
	query map[string]string
	// single says that path/:key answers for one row, so that an absence can be
	// confirmed by a 404. Without it the list is read a second time.
	single bool
	// confidential says that the list takes the confidentiality parameter.
	confidential bool
}

func fullLists() []fullList {
	return []fullList{
		{path: "/archive_reasons", table: "archive_reasons", single: true},
		{path: "/sources", table: "sources"},
		{path: "/stages", table: "stages", single: true},
		// Without includeDeactivated a deactivated user looks deleted.
		{path: "/users", table: "users", single: true, query: map[string]string{"includeDeactivated": "true"}},
		{path: "/requisitions", table: "requisitions", single: true, confidential: true},
	}
}

// A childList is a list under each opportunity that no account-wide list offers.
type childList struct {
	// of is the path of the parents' listing.
	of string
	// name is the last part of the path, and names the follower.
	name   string
	tables []string
	// page is the page size to ask for; 0 sends none.
	page int
}

// childLists returns the lists under each parent. With native, those of candidates are
// read apart from those of opportunities.
func childLists(native bool) []childList {
	all := []childList{
		{of: opportunitiesPath, name: "offers", tables: []string{"opportunity_offers", "candidate_offers"}, page: 100},
		{of: opportunitiesPath, name: "referrals", tables: []string{"opportunity_referrals", "candidate_referrals"}, page: 100},
		// Older servers do not page this list.
		{of: opportunitiesPath, name: "resumes", tables: []string{"opportunity_resumes", "candidate_resumes"}},
	}
	if !native {
		return all
	}
	for i := range all {
		c := all[i]
		c.of = candidatesPath
		c.tables, all[i].tables = split(all[i].tables)
		all = append(all, c)
	}
	return all
}
