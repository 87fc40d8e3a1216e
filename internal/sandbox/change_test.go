package sandbox

import (
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func tables() []string {
	return []string{
		"archive_reasons", "sources", "stages", "users", "postings", "requisitions", "opportunities", "candidates",
		"opportunity_applications", "candidate_applications", "opportunity_offers", "candidate_offers",
		"opportunity_referrals", "candidate_referrals", "opportunity_resumes", "candidate_resumes",
	}
}

type account map[string]map[string]map[string]any

func truths(l *Lever) account { return truthsOf(l, tables()) }

func truthsOf(l *Lever, tables []string) account {
	a := account{}
	for _, table := range tables {
		a[table] = l.Truth(table)
	}
	return a
}

// differences counts the rows that differ, by table.
func (a account) differences(b account) map[string]int {
	d := map[string]int{}
	for _, table := range tables() {
		for k, row := range a[table] {
			if !reflect.DeepEqual(row, b[table][k]) {
				d[table]++
			}
		}
		for k := range b[table] {
			if a[table][k] == nil {
				d[table]++
			}
		}
	}
	return d
}

func TestTheAccountFollowsFromItsSeed(t *testing.T) {
	a, _ := newTest(200, 1)
	b, _ := newTest(200, 1)
	other, _ := newTest(200, 2)
	for range 3 {
		if d := truths(a).differences(truths(b)); len(d) > 0 {
			t.Fatalf("two accounts of one seed differ: %v", d)
		}
		a.Mutate(200)
		b.Mutate(200)
	}
	if d := truths(a).differences(truths(other)); d["opportunities"] < 200 {
		t.Errorf("accounts of different seeds differ in %v only", d)
	}
}

func TestARestartOnTheSameDayFindsTheSameAccount(t *testing.T) {
	c := newClock()
	a := New(Options{Opportunities: 100, Seed: 1, Now: c.now})
	c.move(5 * time.Hour)
	b := New(Options{Opportunities: 100, Seed: 1, Now: c.now})
	if d := truths(a).differences(truths(b)); len(d) > 0 {
		t.Errorf("five hours later rows differ: %v", d)
	}
}

func TestEachRandomChangeIsSeenByAnIncrement(t *testing.T) {
	l, c := newTest(30, 3)
	// What candidates have is what opportunities have.
	watched := slices.DeleteFunc(tables(), func(table string) bool { return strings.HasPrefix(table, "candidate") })
	last := truthsOf(l, watched)
	for i := range 150 {
		at := c.move(time.Second)
		l.Mutate(1)
		next := truthsOf(l, watched)
		d := last.differences(next)
		if len(d) == 0 {
			t.Fatalf("change %d changed nothing", i)
		}
		for _, table := range []string{"opportunities", "postings", "requisitions"} {
			for id, row := range next[table] {
				if old := last[table][id]; !reflect.DeepEqual(old, row) && ms(row, "updatedAt") != at {
					t.Fatalf("change %d: %s %s changed at %d, its updatedAt is %v", i, table, id, at, row["updatedAt"])
				}
			}
		}
		for _, table := range watched[7:] {
			for id := range last[table] {
				if !reflect.DeepEqual(last[table][id], next[table][id]) {
					parent := last[table][id]["opportunityId"].(string)
					if row := next["opportunities"][parent]; row != nil && ms(row, "updatedAt") != at {
						t.Fatalf("change %d: row %s of %s changed, its parent did not", i, id, table)
					}
				}
			}
		}
		last = next
	}
}

func TestChangesAreLaterEvenIfTheClockStands(t *testing.T) {
	l, _ := newTest(20, 4)
	id, posting := l.IDs("opportunities")[0], l.IDs("postings")[0]
	for range 5 {
		before, p := l.Truth("opportunities")[id], l.Truth("postings")[posting]
		if err := errors.Join(l.EditOpportunity(id), l.EditPosting(posting)); err != nil {
			t.Fatal(err)
		}
		if after := l.Truth("opportunities")[id]; ms(after, "updatedAt") <= ms(before, "updatedAt") {
			t.Errorf("updatedAt went from %v to %v", before["updatedAt"], after["updatedAt"])
		}
		if after := l.Truth("postings")[posting]; ms(after, "updatedAt") <= ms(p, "updatedAt") {
			t.Errorf("a posting's updatedAt went from %v to %v", p["updatedAt"], after["updatedAt"])
		}
	}
}

// Each single change, with how many rows of which tables it changes.
func TestSingleChangesChangeWhatTheySay(t *testing.T) {
	l, c := newTest(50, 5)
	first := func(kind string) string { return l.IDs(kind)[0] }
	any := func(id string, err error) error {
		if id == "" && err == nil {
			return errors.New("no id")
		}
		return err
	}
	parentOf := func(table, id string) string { return l.Truth(table)[id]["opportunityId"].(string) }
	opportunity := map[string]int{"opportunities": 1, "candidates": 1}
	with := func(more ...string) map[string]int {
		m := map[string]int{"opportunities": 1, "candidates": 1}
		for _, table := range more {
			m[table]++
		}
		return m
	}
	both := func(name string) map[string]int {
		return map[string]int{"opportunity_" + name: 1, "candidate_" + name: 1}
	}
	alone := func(table string) map[string]int { return map[string]int{table: 1} }
	for _, tt := range []struct {
		name   string
		change func() error
		want   map[string]int
	}{
		{"NewOpportunity", func() error { return any(l.NewOpportunity(), nil) }, with("opportunity_applications", "candidate_applications", "sources")},
		{"Touch", func() error { return l.Touch(first("opportunities")) }, opportunity},
		{"EditOpportunity", func() error { return l.EditOpportunity(first("opportunities")) }, opportunity},
		{"SilentEdit", func() error { return l.SilentEdit(first("opportunities")) }, opportunity},
		{"AdvanceStage", func() error { return l.AdvanceStage(first("opportunities")) }, opportunity},
		{"MoveStage", func() error { return l.MoveStage(first("opportunities"), "offer") }, opportunity},
		{"SetConfidential", func() error { return l.SetConfidential(first("opportunities"), true) }, opportunity},
		{"SetConfidential of a requisition", func() error { return l.SetConfidential(first("requisitions"), true) }, alone("requisitions")},
		{"AddOffer", func() error { return any(l.AddOffer(first("opportunities"))) }, both("offers")},
		{"EditOffer", func() error { return l.EditOffer(first("offers")) }, both("offers")},
		{"RemoveOffer", func() error { return l.RemoveOffer(first("offers")) }, both("offers")},
		{"AddReferral", func() error { return any(l.AddReferral(first("opportunities"))) }, both("referrals")},
		{"RemoveReferral", func() error { return l.RemoveReferral(first("referrals")) }, both("referrals")},
		{"AddResume", func() error { return any(l.AddResume(first("opportunities"))) }, both("resumes")},
		{"EditResume", func() error { return l.EditResume(first("resumes")) }, both("resumes")},
		{"RemoveResume", func() error { return l.RemoveResume(first("resumes")) }, both("resumes")},
		{"AddApplication", func() error { return any(l.AddApplication(first("opportunities"))) }, with("opportunity_applications", "candidate_applications")},
		{"DeleteApplication", func() error { return l.DeleteApplication(first("applications")) }, with("opportunity_applications", "candidate_applications")},
		{"Archive", func() error { return l.Archive(l.NewOpportunity()) }, with("opportunity_applications", "candidate_applications", "sources")},
		{"Anonymize", func() error { return l.Anonymize(parentOf("opportunity_applications", first("applications"))) }, with("opportunity_applications", "candidate_applications")},
		{"EditPosting", func() error { return l.EditPosting(first("postings")) }, alone("postings")},
		{"NewPosting", func() error { return any(l.NewPosting(), nil) }, alone("postings")},
		{"DeletePosting", func() error { return l.DeletePosting(first("postings")) }, alone("postings")},
		{"NewRequisition", func() error { return any(l.NewRequisition(), nil) }, alone("requisitions")},
		{"EditRequisition", func() error { return l.EditRequisition(first("requisitions")) }, alone("requisitions")},
		{"DeleteRequisition", func() error { return l.DeleteRequisition(first("requisitions")) }, alone("requisitions")},
		{"AddStage", func() error { return any(l.AddStage(), nil) }, alone("stages")},
		{"EditStage", func() error { return l.EditStage(first("stages")) }, alone("stages")},
		{"RemoveStage", func() error { return l.RemoveStage(first("stages")) }, alone("stages")},
		{"AddUser", func() error { return any(l.AddUser(), nil) }, alone("users")},
		{"EditUser", func() error { return l.EditUser(first("users")) }, alone("users")},
		{"DeactivateUser", func() error { return l.DeactivateUser(first("users")) }, alone("users")},
		{"RemoveUser", func() error { return l.RemoveUser(first("users")) }, alone("users")},
		{"AddSource", func() error { return any(l.AddSource(), nil) }, alone("sources")},
		{"RemoveSource", func() error { return l.RemoveSource(first("sources")) }, alone("sources")},
		{"AddArchiveReason", func() error { return any(l.AddArchiveReason(), nil) }, alone("archive_reasons")},
		{"EditArchiveReason", func() error { return l.EditArchiveReason(first("archive_reasons")) }, alone("archive_reasons")},
		{"RemoveArchiveReason", func() error { return l.RemoveArchiveReason(first("archive_reasons")) }, alone("archive_reasons")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.move(time.Second)
			before := truths(l)
			if err := tt.change(); err != nil {
				t.Fatal(err)
			}
			if d := before.differences(truths(l)); !reflect.DeepEqual(d, tt.want) {
				t.Errorf("changed %v, want %v", d, tt.want)
			}
		})
	}
	checkAll(t, l, 7)
}

func TestASilentEditLeavesUpdatedAtAlone(t *testing.T) {
	l, c := newTest(50, 6)
	for _, id := range l.IDs("opportunities") {
		before := l.Truth("opportunities")[id]
		c.move(time.Second)
		if err := l.SilentEdit(id); err != nil {
			t.Fatal(err)
		}
		after := l.Truth("opportunities")[id]
		if !reflect.DeepEqual(before["updatedAt"], after["updatedAt"]) || before["headline"] == after["headline"] {
			t.Errorf("%v became %v", before, after)
		}
	}
}

func TestRenamingAPostingReachesAllItsOpportunities(t *testing.T) {
	l, c := newTest(300, 7)
	l.Mutate(200)
	applications := l.Truth("opportunity_applications")
	for _, posting := range l.IDs("postings") {
		at := c.move(time.Second)
		before := l.Truth("opportunities")
		if err := l.RenamePosting(posting); err != nil {
			t.Fatal(err)
		}
		title := l.Truth("postings")[posting]["text"]
		for id, row := range l.Truth("opportunities") {
			of := false
			if list := row["applications"].([]any); len(list) > 0 {
				of = applications[list[0].(string)]["posting"] == posting
			}
			if changed := !reflect.DeepEqual(before[id], row); changed != of {
				t.Fatalf("%s changed: %t, is of the posting: %t", id, changed, of)
			}
			tags := row["tags"].([]any)
			if of && (tags[len(tags)-1] != title || ms(row, "updatedAt") != at) {
				t.Fatalf("%s has tags %v at %v, want %s at %d", id, tags, row["updatedAt"], title, at)
			}
		}
	}
}

func TestADeletedOpportunityTakesItsChildrenAlong(t *testing.T) {
	l, _ := newTest(60, 8)
	for _, id := range l.IDs("opportunities")[:12] {
		before := truths(l)
		if err := l.DeleteOpportunity(id); err != nil {
			t.Fatal(err)
		}
		after := truths(l)
		for _, table := range tables()[6:] {
			for k, row := range before[table] {
				gone := k == id || row["opportunityId"] == id
				if (after[table][k] == nil) != gone {
					t.Fatalf("%s %s is there: %t", table, k, !gone)
				}
			}
		}
		for _, path := range []string{"", "/offers", "/resumes", "/applications"} {
			if a := get(l, "/opportunities/"+id+path, nil); a.status != http.StatusNotFound || !strings.Contains(a.Message, id) {
				t.Errorf("%s of a deleted opportunity: %d %s", path, a.status, a.raw)
			}
		}
	}
	checkAll(t, l, 7)
}

func TestChangesOfWhatIsNotThereAreErrors(t *testing.T) {
	l, _ := newTest(20, 9)
	before := truths(l)
	for name, change := range map[string]func(string) error{
		"Touch": l.Touch, "EditOpportunity": l.EditOpportunity, "SilentEdit": l.SilentEdit, "AdvanceStage": l.AdvanceStage, "Archive": l.Archive,
		"Anonymize": l.Anonymize, "DeleteOpportunity": l.DeleteOpportunity, "EditOffer": l.EditOffer, "RemoveOffer": l.RemoveOffer,
		"RemoveReferral": l.RemoveReferral, "EditResume": l.EditResume, "RemoveResume": l.RemoveResume, "DeleteApplication": l.DeleteApplication,
		"EditPosting": l.EditPosting, "RenamePosting": l.RenamePosting, "DeletePosting": l.DeletePosting, "EditRequisition": l.EditRequisition,
		"DeleteRequisition": l.DeleteRequisition, "EditStage": l.EditStage, "RemoveStage": l.RemoveStage, "EditUser": l.EditUser,
		"DeactivateUser": l.DeactivateUser, "RemoveUser": l.RemoveUser, "RemoveSource": l.RemoveSource,
		"EditArchiveReason": l.EditArchiveReason, "RemoveArchiveReason": l.RemoveArchiveReason,
	} {
		for _, id := range []string{"", "nobody", "7d1c0a9e-52d4-4b1e-8f63-0c2b7a9f1001"} {
			if err := change(id); err == nil {
				t.Errorf("%s(%q) is no error", name, id)
			}
		}
	}
	if d := before.differences(truths(l)); len(d) > 0 {
		t.Errorf("changes of what is not there changed %v", d)
	}
	id := l.IDs("opportunities")[0]
	if l.DeleteOpportunity(id) != nil || l.DeleteOpportunity(id) == nil {
		t.Error("an opportunity can be deleted other than once")
	}
}

func TestRowsThatMoveBetweenPagesAreRepeatedOrMissed(t *testing.T) {
	l, _ := newTest(40, 10)
	ids := func(rows []map[string]any) (ids []string) {
		for _, row := range rows {
			ids = append(ids, row["id"].(string))
		}
		return ids
	}
	v := values("confidentiality", "all", "limit", "10")
	order := ids(list(t, l, "/opportunities", v, nil))
	page := 0
	forward, back := order[3], order[35]
	got := ids(list(t, l, "/opportunities", v, func() {
		if page++; page == 1 {
			if err := errors.Join(l.MoveStage(forward, lastStage(l)), l.MoveStage(back, "lead-new")); err != nil {
				t.Fatal(err)
			}
		}
	}))
	count := func(id string) int {
		n := 0
		for _, x := range got {
			if x == id {
				n++
			}
		}
		return n
	}
	if count(forward) != 2 || count(back) != 0 {
		t.Errorf("moved forward: returned %d times, want 2; moved back: %d times, want 0", count(forward), count(back))
	}
	// The row that the token names may go: the next page begins at its place.
	l, _ = newTest(40, 10)
	page = 0
	got = ids(list(t, l, "/opportunities", v, func() {
		if page++; page == 1 {
			if err := l.DeleteOpportunity(order[10]); err != nil {
				t.Fatal(err)
			}
		}
	}))
	if want := slices.Delete(slices.Clone(order), 10, 11); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func lastStage(l *Lever) string {
	live := l.stages.live()
	return l.stages.list[live[len(live)-1]].id
}

func TestIDsListWhatTruthHas(t *testing.T) {
	l, _ := newTest(80, 11)
	l.Mutate(200)
	for kind, table := range map[string]string{
		"opportunities": "opportunities", "candidates": "candidates", "postings": "postings", "requisitions": "requisitions", "users": "users",
		"stages": "stages", "sources": "sources", "archive_reasons": "archive_reasons", "applications": "opportunity_applications",
		"offers": "opportunity_offers", "referrals": "candidate_referrals", "resumes": "candidate_resumes",
	} {
		ids, truth := l.IDs(kind), l.Truth(table)
		if len(ids) != len(truth) {
			t.Errorf("%d ids of %s, %d rows", len(ids), kind, len(truth))
		}
		for _, id := range ids {
			if truth[id] == nil {
				t.Errorf("id %s of %s has no row", id, kind)
			}
		}
	}
	if l.IDs("things") != nil || l.Truth("things") != nil {
		t.Error("unknown kinds have ids or rows")
	}
}

func feedIDs(t *testing.T, l *Lever, path, from, to string) (ids []string) {
	t.Helper()
	v := values("limit", "2")
	if from != "" {
		v.Set("deleted_at_start", from)
	}
	if to != "" {
		v.Set("deleted_at_end", to)
	}
	for _, row := range list(t, l, path, v, nil) {
		ids = append(ids, row["id"].(string))
	}
	return ids
}

func TestFeedsListDeletionsInTheirWindows(t *testing.T) {
	l, c := newTest(200, 12)
	c.move(time.Minute)
	for path, tt := range map[string]struct {
		kind   string
		remove func(string) error
		strict bool
		fields []string
	}{
		"/opportunities/deleted": {"opportunities", l.DeleteOpportunity, false, []string{"id", "deletedAt", "deletedBy", "name"}},
		"/postings/deleted":      {"postings", l.DeletePosting, true, []string{"id", "deletedAt"}},
		"/applications/deleted":  {"applications", l.DeleteApplication, true, []string{"id", "deletedAt", "opportunityId", "postingId"}},
	} {
		var ids []string
		var times []int64
		for _, id := range l.IDs(tt.kind)[:5] {
			if err := tt.remove(id); err != nil {
				t.Fatal(err)
			}
			ids, times = append(ids, id), append(times, c.millis())
			c.move(time.Second)
		}
		text := func(ms int64) string { return strconv.FormatInt(ms, 10) }
		if got := feedIDs(t, l, path, text(times[0]), text(times[4]+1)); !slices.Equal(got, ids) {
			t.Errorf("%s: got %v, want %v", path, got, ids)
		}
		to := 4 // the end is included
		if tt.strict {
			to = 3
		}
		if got := feedIDs(t, l, path, text(times[1]), text(times[3])); !slices.Equal(got, ids[1:to]) {
			t.Errorf("%s: a window with rows on its bounds gives %v, want %v", path, got, ids[1:to])
		}
		row := list(t, l, path, values("deleted_at_start", text(times[0]), "deleted_at_end", text(times[4])), nil)[0]
		for _, name := range tt.fields {
			if row[name] == nil {
				t.Errorf("%s: no %s in %v", path, name, row)
			}
		}
		if tt.strict && len(row) != len(tt.fields) {
			t.Errorf("%s: more than %v in %v", path, tt.fields, row)
		}
		month := (30 * day).Milliseconds()
		for _, v := range []struct {
			from, to string
			ok       bool
		}{
			{"", "", false},
			{text(times[0]), "", false},
			{"", text(times[0]), false},
			{text(times[0]), text(times[0] + month + 1), false},
			{text(times[0]), text(times[0] + month), true},
			{"yesterday", text(times[0]), false},
		} {
			q := values()
			if v.from != "" {
				q.Set("deleted_at_start", v.from)
			}
			if v.to != "" {
				q.Set("deleted_at_end", v.to)
			}
			want := http.StatusOK
			if !v.ok && (tt.strict || v.from == "yesterday") {
				want = http.StatusBadRequest
			}
			if a := get(l, path, q); a.status != want {
				t.Errorf("%s?%s: %d, want %d", path, q.Encode(), a.status, want)
			}
		}
	}
}
