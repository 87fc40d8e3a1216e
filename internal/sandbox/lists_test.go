package sandbox

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// checkAll reads every list with a page size and compares it with the truth.
func checkAll(t *testing.T, l *Lever, limit int) {
	t.Helper()
	size := strconv.Itoa(limit)
	for table, v := range map[string]url.Values{
		"archive_reasons": {},
		"sources":         {},
		"stages":          {},
		"users":           values("includeDeactivated", "true"),
		"postings":        values("confidentiality", "all"),
		"requisitions":    values("confidentiality", "all"),
		"opportunities":   values("confidentiality", "all"),
		"candidates":      values("confidentiality", "all"),
	} {
		v.Set("limit", size)
		key := "id"
		if table == "sources" {
			key = "text"
		}
		same(t, fmt.Sprintf("%s by %d", table, limit), keyed(t, list(t, l, "/"+table, v, nil), key), l.Truth(table))
	}
	for _, name := range []string{"applications", "offers", "referrals", "resumes"} {
		for _, parent := range []string{"opportunities", "candidates"} {
			table := strings.TrimSuffix(strings.Replace(parent, "opportunities", "opportunity", 1), "s") + "_" + name
			found := map[string]map[string]any{}
			for _, id := range l.IDs(parent) {
				path := "/" + parent + "/" + id + "/" + name
				if a := get(l, path, values("limit", "1")); a.status == http.StatusNotFound {
					continue // an empty list of resumes
				}
				for k, row := range keyed(t, list(t, l, path, values("limit", size), nil), "id") {
					row["opportunityId"] = id
					if parent == "candidates" {
						row["candidateId"] = id
					}
					found[k] = row
				}
			}
			same(t, table, found, l.Truth(table))
		}
	}
}

func TestEveryListPagedToTheEndIsTheTruth(t *testing.T) {
	l, _ := newTest(130, 1)
	for _, limit := range []int{1, 7, 100} {
		checkAll(t, l, limit)
	}
}

func TestListsAreStillTheTruthAfterManyChanges(t *testing.T) {
	l, c := newTest(120, 2)
	for range 10 {
		l.Mutate(50)
		c.move(time.Second)
	}
	checkAll(t, l, 7)
}

func TestAnEmptyAccountHasEmptyLists(t *testing.T) {
	l, _ := newTest(0, 3)
	a := get(l, "/opportunities", nil)
	if a.raw != `{"data":[],"hasNext":false}` {
		t.Errorf("got %s", a.raw)
	}
	if n := len(l.Truth("postings")); n != 5 {
		t.Errorf("%d postings, want 5", n)
	}
	id := l.NewOpportunity()
	if got := list(t, l, "/opportunities", values("confidentiality", "all"), nil); len(got) != 1 || got[0]["id"] != id {
		t.Errorf("after the first opportunity the list is %v", got)
	}
	l.Mutate(50)
	checkAll(t, l, 7)
}

func TestOpportunitiesAreSortedByStageThenLastAdvanceThenID(t *testing.T) {
	l, c := newTest(300, 4)
	l.Mutate(100)
	c.move(time.Hour)
	l.Mutate(100)
	place := map[string]int{}
	for i, row := range list(t, l, "/stages", nil, nil) {
		place[row["id"].(string)] = i
	}
	rows := list(t, l, "/opportunities", values("confidentiality", "all", "limit", "100"), nil)
	rows = slices.DeleteFunc(rows, func(row map[string]any) bool {
		_, live := place[row["stage"].(string)]
		return !live
	})
	if !slices.IsSortedFunc(rows, func(a, b map[string]any) int {
		return cmp.Or(
			cmp.Compare(place[a["stage"].(string)], place[b["stage"].(string)]),
			cmp.Compare(ms(b, "lastAdvancedAt"), ms(a, "lastAdvancedAt")),
			strings.Compare(a["id"].(string), b["id"].(string)))
	}) {
		t.Error("the list is not sorted")
	}
}

func TestConfidentialRowsAreHiddenUnlessAskedFor(t *testing.T) {
	l, _ := newTest(600, 5)
	for _, table := range []string{"opportunities", "postings", "requisitions"} {
		truth := l.Truth(table)
		for value, keep := range map[string]func(map[string]any) bool{
			"":                 func(row map[string]any) bool { return row["confidentiality"] == "non-confidential" },
			"non-confidential": func(row map[string]any) bool { return row["confidentiality"] == "non-confidential" },
			"confidential":     func(row map[string]any) bool { return row["confidentiality"] == "confidential" },
			"all":              func(map[string]any) bool { return true },
		} {
			v := values("limit", "100")
			if value != "" {
				v.Set("confidentiality", value)
			}
			want := only(truth, keep)
			if len(want) == 0 {
				t.Errorf("no %s %s in the account", value, table)
			}
			same(t, table+" "+value, keyed(t, list(t, l, "/"+table, v, nil), "id"), want)
		}
	}
	if a := get(l, "/postings", values("confidentiality", "some")); a.status != http.StatusBadRequest {
		t.Errorf("an unknown confidentiality gives %d", a.status)
	}
}

func TestDeactivatedUsersAreHiddenUnlessAskedFor(t *testing.T) {
	l, _ := newTest(0, 6)
	active := only(l.Truth("users"), func(row map[string]any) bool { return row["deactivatedAt"] == nil })
	if len(active) == len(l.Truth("users")) {
		t.Fatal("nobody is deactivated")
	}
	same(t, "active users", keyed(t, list(t, l, "/users", nil, nil), "id"), active)
	id := list(t, l, "/users", nil, nil)[0]["id"].(string)
	if err := l.DeactivateUser(id); err != nil {
		t.Fatal(err)
	}
	delete(active, id)
	same(t, "active users", keyed(t, list(t, l, "/users", nil, nil), "id"), active)
}

func TestTimeFiltersIncludeBothEnds(t *testing.T) {
	l, c := newTest(1000, 7)
	c.move(time.Minute)
	l.Mutate(300)
	for _, tt := range []struct{ table, filter, field string }{
		{"opportunities", "created_at", "createdAt"},
		{"opportunities", "updated_at", "updatedAt"},
		{"candidates", "updated_at", "updatedAt"},
		{"postings", "updated_at", "updatedAt"},
		{"requisitions", "created_at", "createdAt"},
	} {
		truth := l.Truth(tt.table)
		var times []int64
		for _, row := range truth {
			if row[tt.field] != nil {
				times = append(times, ms(row, tt.field))
			}
		}
		slices.Sort(times)
		if len(times) < 10 {
			t.Fatalf("only %d times in %s", len(times), tt.table)
		}
		// Narrow and wide windows, with bounds that rows lie on, and open ones.
		n := len(times)
		for _, w := range [][2]int64{
			{times[n/2], times[n/2]}, {times[n/3], times[n/2]}, {times[0], times[n-1]}, {times[n-1], 0}, {times[n-3], 0},
			{0, times[2]}, {times[n-1] + 1, 0}, {times[1] + 1, times[n-2] - 1},
		} {
			v := values("confidentiality", "all", "limit", "7")
			if w[0] > 0 {
				v.Set(tt.filter+"_start", strconv.FormatInt(w[0], 10))
			}
			if w[1] > 0 {
				v.Set(tt.filter+"_end", strconv.FormatInt(w[1], 10))
			}
			want := only(truth, func(row map[string]any) bool {
				at := ms(row, tt.field)
				return row[tt.field] != nil && at >= w[0] && (w[1] == 0 || at <= w[1])
			})
			same(t, fmt.Sprint(tt.table, " ", v), keyed(t, list(t, l, "/"+tt.table, v, nil), "id"), want)
		}
	}
	both := only(l.Truth("opportunities"), func(row map[string]any) bool {
		return row["updatedAt"] != nil && ms(row, "updatedAt") <= c.millis() && ms(row, "createdAt") >= c.millis()-(500*day).Milliseconds()
	})
	v := values("confidentiality", "all", "created_at_start", strconv.FormatInt(c.millis()-(500*day).Milliseconds(), 10),
		"updated_at_end", strconv.FormatInt(c.millis(), 10))
	same(t, "both filters", keyed(t, list(t, l, "/opportunities", v, nil), "id"), both)
}

func TestMostOldOpportunitiesHaveNoUpdatedAt(t *testing.T) {
	l, _ := newTest(2000, 8)
	null := only(l.Truth("opportunities"), func(row map[string]any) bool { return row["updatedAt"] == nil })
	if n := len(null); n < 1500 || n > 1950 {
		t.Errorf("%d of 2000 have no updatedAt", n)
	}
}

func TestApplicationsAreExpandedOnlyOnRequest(t *testing.T) {
	l, _ := newTest(150, 9)
	want := l.Truth("opportunity_applications")
	counts := map[int]int{}
	found := map[string]map[string]any{}
	for _, row := range list(t, l, "/opportunities", values("confidentiality", "all", "expand", "applications"), nil) {
		list := row["applications"].([]any)
		counts[len(list)]++
		for _, x := range list {
			application := x.(map[string]any)
			if application["opportunityId"] != row["id"] {
				t.Errorf("an application of %v says it is of %v", row["id"], application["opportunityId"])
			}
			found[application["id"].(string)] = application
		}
		single := get(l, "/opportunities/"+row["id"].(string), values("expand", "applications"))
		if got := decode(t, []byte("["+string(single.Data)+"]"))[0]; !reflect.DeepEqual(got, row) {
			t.Errorf("the single record differs from the list's:\n%v\n%v", got, row)
		}
	}
	same(t, "expanded applications", found, want)
	if counts[0] == 0 || counts[1] < 130 {
		t.Errorf("applications per opportunity: %v", counts)
	}
}

func TestPostingsRefuseOtherParametersBesideUpdatedAt(t *testing.T) {
	l, _ := newTest(10, 10)
	if a := get(l, "/postings", values("updated_at_start", "0", "expand", "owner")); a.status != http.StatusBadRequest {
		t.Errorf("status %d, want 400", a.status)
	}
	if a := get(l, "/postings", values("updated_at_start", "0", "confidentiality", "all", "limit", "5")); a.status != http.StatusOK {
		t.Errorf("status %d, want 200", a.status)
	}
}

func TestSingleRecordsAreThoseOfTheList(t *testing.T) {
	l, _ := newTest(60, 11)
	for _, table := range []string{"archive_reasons", "stages", "users", "postings", "requisitions", "opportunities", "candidates"} {
		for id, want := range l.Truth(table) {
			a := get(l, "/"+table+"/"+id, nil)
			if a.status != http.StatusOK || !reflect.DeepEqual(decode(t, []byte("["+string(a.Data)+"]"))[0], want) {
				t.Errorf("/%s/%s: %d %s", table, id, a.status, a.raw)
			}
		}
		unknown := "7d1c0a9e-52d4-4b1e-8f63-0c2b7a9f1001"
		a := get(l, "/"+table+"/"+unknown, nil)
		if a.status != http.StatusNotFound || a.Code != "ResourceNotFound" || a.Message != table+" "+unknown+" was not found" {
			t.Errorf("an unknown id in %s: %d %s", table, a.status, a.raw)
		}
	}
	for _, name := range []string{"applications", "referrals", "resumes"} {
		for id, want := range l.Truth("opportunity_" + name) {
			a := get(l, "/opportunities/"+want["opportunityId"].(string)+"/"+name+"/"+id, nil)
			if a.status != http.StatusOK {
				t.Errorf("%s %s: %d", name, id, a.status)
			}
		}
	}
	for _, path := range []string{"/nothing", "/sources/Referral", "/opportunities/" + l.IDs("opportunities")[0] + "/notes", "/applications"} {
		if a := get(l, path, nil); a.status != http.StatusNotFound || !strings.HasSuffix(a.Message, "does not exist") {
			t.Errorf("%s: %d %s", path, a.status, a.raw)
		}
	}
}

func TestAFewOpportunitiesWithoutResumeAnswer404(t *testing.T) {
	l, _ := newTest(600, 12)
	empty, missing := 0, 0
	for _, id := range l.IDs("opportunities") {
		switch a := get(l, "/opportunities/"+id+"/resumes", nil); {
		case a.status == http.StatusNotFound && a.Code == "ResourceNotFound":
			missing++
		case a.raw == `{"data":[],"hasNext":false}`:
			empty++
		}
	}
	if missing == 0 || empty < 5*missing {
		t.Errorf("%d empty lists, %d not found", empty, missing)
	}
}

func TestTheAccountHasWhatReadersStumbleOver(t *testing.T) {
	l, _ := newTest(1000, 13)
	has := func(table, what string, is func(map[string]any) bool) {
		t.Helper()
		if len(only(l.Truth(table), is)) == 0 {
			t.Errorf("no row of %s with %s", table, what)
		}
	}
	absent := func(name string) func(map[string]any) bool {
		return func(row map[string]any) bool { _, ok := row[name]; return !ok }
	}
	present := func(name string) func(map[string]any) bool {
		return func(row map[string]any) bool { _, ok := row[name]; return ok }
	}
	null := func(name string) func(map[string]any) bool {
		return func(row map[string]any) bool { v, ok := row[name]; return ok && v == nil }
	}
	has("opportunities", "no location", absent("opportunityLocation"))
	has("opportunities", "an unknown object", present("assessment"))
	has("opportunities", "an unknown null", null("lastSurveyAt"))
	has("opportunities", "an empty name", func(row map[string]any) bool { return row["name"] == "" })
	has("opportunities", "archived", func(row map[string]any) bool { return row["archived"] != nil })
	has("opportunities", "a slug stage", func(row map[string]any) bool { return row["stage"] == "lead-new" })
	has("requisitions", "unlimited headcount", func(row map[string]any) bool { return row["headcountTotal"] == "unlimited" })
	has("postings", "no salary", absent("salaryRange"))
	has("postings", "a salary", present("salaryRange"))
	has("postings", "no urls", null("urls"))
	has("opportunity_resumes", "no file", null("file"))
	has("opportunity_resumes", "no parsed data", absent("parsedData"))
	has("opportunity_referrals", "no referrer", null("referrer"))
	has("opportunity_offers", "a signed document", func(row map[string]any) bool { return row["signedDocument"] != nil })
	has("opportunity_applications", "a requisition for hire", func(row map[string]any) bool { return row["requisitionForHire"] != nil })
	for table, share := range map[string][2]int{
		"opportunity_offers": {60, 110}, "opportunity_referrals": {70, 130}, "opportunity_resumes": {650, 830}, "opportunity_applications": {930, 1010},
		"users": {25, 25}, "postings": {20, 20}, "requisitions": {10, 10},
	} {
		if n := len(l.Truth(table)); n < share[0] || n > share[1] {
			t.Errorf("%d rows of %s for 1000 opportunities", n, table)
		}
	}
}

func TestRecordsAreConsistent(t *testing.T) {
	l, c := newTest(400, 14)
	l.Mutate(200)
	now := c.millis() + 1000
	applications := l.Truth("opportunity_applications")
	sources := map[string]int64{}
	for id, row := range l.Truth("opportunities") {
		created, advanced := ms(row, "createdAt"), ms(row, "lastAdvancedAt")
		if created > advanced || advanced > now || ms(row, "updatedAt") > now || created < now-(4*365*day).Milliseconds() {
			t.Errorf("%s has impossible times: %v", id, row)
		}
		changes := row["stageChanges"].([]any)
		if last := changes[len(changes)-1].(map[string]any); last["toStageId"] != row["stage"] {
			t.Errorf("%s is in %v, its last stage change was to %v", id, row["stage"], last["toStageId"])
		}
		for _, a := range row["applications"].([]any) {
			if applications[a.(string)]["opportunityId"] != id {
				t.Errorf("application %v of %s is of %v", a, id, applications[a.(string)]["opportunityId"])
			}
			delete(applications, a.(string))
		}
		for _, s := range row["sources"].([]any) {
			sources[s.(string)]++
		}
	}
	if len(applications) > 0 {
		t.Errorf("%d applications are in no opportunity", len(applications))
	}
	for text, row := range l.Truth("sources") {
		if ms(row, "count") != sources[text] {
			t.Errorf("source %s counts %v, %d opportunities have it", text, row["count"], sources[text])
		}
	}
}
