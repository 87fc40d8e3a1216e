package main

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/sandbox"
)

func TestPlanPrintsWhatAFirstLoadCosts(t *testing.T) {
	lever := sandbox.New(sandbox.Options{Opportunities: 90, Seed: 1, Faults: sandbox.Faults{Status: map[string]int{"/users": 403}}})
	server := httptest.NewServer(lever)
	defer server.Close()
	t.Setenv("LEVER_API_URL", server.URL+"/v1")
	t.Setenv("LEVER_TOKEN", "a-secret-token")
	t.Setenv("LEVER_RATE", "1000")
	var out, errOut bytes.Buffer
	if code := run(t.Context(), []string{"plan", "--json"}, &out, &errOut); code != exitDone {
		t.Fatalf("exit %d: %s", code, errOut.String())
	}
	var plan extractor.Plan
	if err := json.Unmarshal(out.Bytes(), &plan); err != nil {
		t.Fatal(err)
	}
	asked := int64(0)
	for _, n := range lever.Requests() {
		asked += n
	}
	// Beside what it says itself, one question tells what the key may see.
	if len(plan.Tables) != 16 || plan.Requests < 3*90 || plan.Requests > 3*90+20 || int64(plan.Asked)+1 != asked {
		t.Errorf("plan %+v after %d requests", plan, asked)
	}
	out.Reset()
	if code := run(t.Context(), []string{"plan"}, &out, &errOut); code != exitDone {
		t.Fatalf("exit %d: %s", code, errOut.String())
	}
	columns := regexp.MustCompile(`(?m)^\S+ \(with \S+\) +\d+ +\d+`)
	for _, line := range columns.FindAllString(out.String(), -1) {
		if n := utf8.RuneCountInString(line); n != 68 {
			t.Errorf("the columns are not below their heads: %q", line)
		}
	}
	for _, want := range []string{"candidate_offers (with opportunity_offers)", "403 Forbidden", "first load at 1000 requests a second", "within 24.0 h", "6 every 10s", "takes 3 more"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, out.String())
		}
	}
}
