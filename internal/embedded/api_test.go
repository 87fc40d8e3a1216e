package embedded

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/sr"
)

// call is a request to the registry and what it answers.
type call struct {
	do     string // method and path
	schema string // sent as a registration request
	body   string // sent as it is
	status int
	want   string // the answer, compact
}

func newTestRegistry(t *testing.T, dir string) *httptest.Server {
	t.Helper()
	r, err := openRegistry(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(r.handler())
	t.Cleanup(s.Close)
	return s
}

func (c call) run(t *testing.T, s *httptest.Server) {
	t.Helper()
	method, path, _ := strings.Cut(c.do, " ")
	body := c.body
	if c.schema != "" {
		b, err := json.Marshal(map[string]string{"schema": c.schema})
		if err != nil {
			t.Fatal(err)
		}
		body = string(b)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.TrimSpace(string(b))
	if c.status == 0 {
		c.status = http.StatusOK
	}
	if resp.StatusCode != c.status || (c.status == 200 && got != c.want) || !strings.Contains(got, c.want) {
		t.Errorf("%s: got %d %s, want %d %s", c.do, resp.StatusCode, got, c.status, c.want)
	}
	if ct := resp.Header.Get("Content-Type"); ct != contentType {
		t.Errorf("%s: content type %s", c.do, ct)
	}
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	v1, v2, wrong := rec(fieldA), rec(fieldA, fieldB), rec(fieldA, fieldBare)
	text := func(s string) string { return strings.ReplaceAll(s, `"`, `\"`) }
	for name, calls := range map[string][]call{
		"is there": {{do: "GET /", want: "{}"}, {do: "GET /subjects", want: "[]"}, {do: "GET /schemas/types", want: `["AVRO"]`}, {do: "GET /mode", want: `{"mode":"READWRITE"}`}},
		"answers an unknown path": {
			{do: "GET /v1/metadata/id", status: 404, want: `{"error_code":404,`},
			{do: "GET /subjects/a/b/c", status: 404, want: `{"error_code":404,`},
			{do: "PATCH /subjects", status: 404, want: `{"error_code":404,`},
		},
		"gives ids by schema and versions by subject": {
			{do: "POST /subjects/a/versions", schema: v1, want: `{"id":1}`},
			{do: "POST /subjects/b/versions", schema: v1, want: `{"id":1}`},
			{do: "POST /subjects/a/versions", schema: v2, want: `{"id":2}`},
			{do: "POST /subjects/a/versions?normalize=true", schema: " " + v1, want: `{"id":1}`},
			{do: "GET /subjects/a/versions", want: "[1,2]"},
			{do: "GET /subjects", want: `["a","b"]`},
			{do: "GET /subjects/a/versions/latest", want: `{"subject":"a","version":2,"id":2,"schema":"` + text(v2) + `"}`},
			{do: "GET /subjects/a/versions/1", want: `{"subject":"a","version":1,"id":1,"schema":"` + text(v1) + `"}`},
			{do: "GET /subjects/a/versions/1/schema", want: v1},
			{do: "GET /schemas/ids/2?fetchMaxId=true&subject=a&nobody=knows", want: `{"schema":"` + text(v2) + `"}`},
			{do: "GET /schemas/ids/2/schema", want: v2},
			{do: "GET /schemas/ids/1/versions", want: `[{"subject":"a","version":1},{"subject":"b","version":1}]`},
			{do: "GET /schemas/ids/1/subjects", want: `["a","b"]`},
			{do: "GET /subjects/a/versions/1/referencedby", want: "[]"},
		},
		"looks up": {
			{do: "POST /subjects/a", schema: v1, status: 404, want: "40401"},
			{do: "POST /subjects/a/versions", schema: v1, want: `{"id":1}`},
			{do: "POST /subjects/a?deleted=true", schema: v1, want: `{"subject":"a","version":1,"id":1,"schema":"` + text(v1) + `"}`},
			{do: "POST /subjects/a", schema: v2, status: 404, want: "40403"},
			{do: "GET /subjects/a/versions/2", status: 404, want: "40402"},
			{do: "GET /subjects/a/versions/zero", status: 422, want: "42202"},
			{do: "GET /subjects/b/versions/latest", status: 404, want: "40401"},
			{do: "GET /subjects/b/versions", status: 404, want: "40401"},
			{do: "GET /schemas/ids/2", status: 404, want: "40403"},
			{do: "GET /schemas/ids/x", status: 404, want: "404"},
		},
		"refuses what is not compatible and keeps nothing of it": {
			{do: "POST /subjects/a/versions", schema: v1, want: `{"id":1}`},
			{do: "POST /subjects/a/versions", schema: wrong, status: 409, want: `"error_code":409`},
			{do: "POST /subjects/a/versions", schema: wrong, status: 409, want: "cannot read data of the old one"},
			{do: "GET /subjects/a/versions", want: "[1]"},
			{do: "PUT /config/a", body: `{"compatibility":"NONE"}`, want: `{"compatibility":"NONE"}`},
			{do: "POST /subjects/a/versions", schema: wrong, want: `{"id":2}`},
		},
		"tells compatibility": {
			{do: "POST /compatibility/subjects/a/versions", schema: v1, want: `{"is_compatible":true}`},
			{do: "POST /compatibility/subjects/a/versions/latest", schema: v1, status: 404, want: "40401"},
			{do: "POST /subjects/a/versions", schema: v1, want: `{"id":1}`},
			{do: "POST /compatibility/subjects/a/versions/latest", schema: v2, want: `{"is_compatible":true}`},
			{do: "POST /compatibility/subjects/a/versions", schema: wrong, want: `{"is_compatible":false}`},
			{do: "POST /compatibility/subjects/a/versions/1?verbose=true", schema: `"long"`, want: `{"is_compatible":false,"messages":["the new schema cannot read data of the old one: avro: incompatible at (root): reader long vs writer record: incompatible types"]}`},
			{do: "POST /compatibility/subjects/a/versions", schema: `"nosuch"`, status: 422, want: "42201"},
		},
		"keeps levels": {
			{do: "GET /config", want: `{"compatibilityLevel":"BACKWARD"}`},
			{do: "GET /config/a", status: 404, want: "40408"},
			{do: "GET /config/a?defaultToGlobal=true", want: `{"compatibilityLevel":"BACKWARD"}`},
			{do: "PUT /config/a", body: `{"compatibility":"full_transitive"}`, want: `{"compatibility":"FULL_TRANSITIVE"}`},
			{do: "GET /config/a", want: `{"compatibilityLevel":"FULL_TRANSITIVE"}`},
			{do: "PUT /config", body: `{"compatibility":"FORWARD"}`, want: `{"compatibility":"FORWARD"}`},
			{do: "GET /config/b?defaultToGlobal=true", want: `{"compatibilityLevel":"FORWARD"}`},
			{do: "PUT /config/a", body: `{"compatibility":"SOMETIMES"}`, status: 422, want: "42203"},
			{do: "DELETE /config/a", want: `{"compatibilityLevel":"FULL_TRANSITIVE"}`},
			{do: "DELETE /config/a", status: 404, want: "40408"},
		},
		"deletes in two steps and keeps ids": {
			{do: "POST /subjects/a/versions", schema: v1, want: `{"id":1}`},
			{do: "POST /subjects/a/versions", schema: v2, want: `{"id":2}`},
			{do: "DELETE /subjects/a/versions/1?permanent=true", status: 404, want: "40407"},
			{do: "DELETE /subjects/a/versions/1", want: "1"},
			{do: "GET /subjects/a/versions", want: "[2]"},
			{do: "DELETE /subjects/a?permanent=true", status: 404, want: "40405"},
			{do: "DELETE /subjects/a", want: "[2]"},
			{do: "GET /subjects", want: "[]"},
			{do: "GET /subjects?deleted=true", want: `["a"]`},
			{do: "POST /subjects/a/versions", schema: v1, want: `{"id":1}`},
			{do: "GET /subjects/a/versions", want: "[3]"},
			{do: "DELETE /subjects/a/versions/latest", want: "3"},
			{do: "DELETE /subjects/a?permanent=true", want: "[1,2,3]"},
			{do: "GET /schemas/ids/2/schema", want: v2},
			{do: "DELETE /subjects/a", status: 404, want: "40401"},
		},
		"refuses other requests": {
			{do: "POST /subjects/a/versions", body: `{"schema":`, status: 422, want: "error_code"},
			{do: "POST /subjects/a/versions", body: `{"schema":"{}","schemaType":"JSON"}`, status: 422, want: "42201"},
			{do: "POST /subjects/a/versions", body: `{"schema":"\"long\"","references":[{"name":"x"}]}`, status: 422, want: "42201"},
			{do: "POST /subjects/a/versions", schema: "{", status: 422, want: "42201"},
			{do: "POST /subjects/a/versions", body: `{"schema":"` + strings.Repeat("x", maxSchemaBytes) + `"}`, status: 422, want: "error_code"},
		},
		"takes any subject": {
			{do: "POST /subjects/a%2Fb%20c/versions", schema: v1, want: `{"id":1}`},
			{do: "GET /subjects", want: `["a/b c"]`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTestRegistry(t, "")
			for _, c := range calls {
				c.run(t, s)
			}
		})
	}
}

func TestRegistryIsTheSameAfterEveryRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	v1, v2 := rec(fieldA), rec(fieldA, fieldB)
	for _, c := range []call{
		{do: "PUT /config/a", body: `{"compatibility":"FULL"}`, want: `{"compatibility":"FULL"}`},
		{do: "POST /subjects/a/versions", schema: v1, want: `{"id":1}`},
		{do: "DELETE /subjects/a", want: "[1]"},
		{do: "DELETE /subjects/a?permanent=true", want: "[1]"},
		{do: "POST /subjects/b/versions", schema: v2, want: `{"id":2}`},
		{do: "POST /subjects/a/versions", schema: v1, want: `{"id":1}`},
		{do: "GET /subjects", want: `["a","b"]`},
		{do: "GET /config", want: `{"compatibilityLevel":"BACKWARD"}`},
	} {
		c.run(t, newTestRegistry(t, dir)) // opened anew for every call
	}
}

func TestConcurrentRegistrationsGiveOneId(t *testing.T) {
	t.Parallel()
	s := newTestRegistry(t, t.TempDir())
	cl, err := sr.NewClient(sr.URLs(s.URL))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ids := make([]int, 16)
	for i := range ids {
		wg.Go(func() {
			got, err := cl.CreateSchema(t.Context(), fmt.Sprint("subject-", i%4), sr.Schema{Schema: rec(fieldA)})
			if err != nil {
				t.Error(err)
			}
			ids[i] = got.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != 1 {
			t.Fatalf("ids %v, want 1 always", ids)
		}
	}
	call{do: "GET /subjects/subject-3/versions", want: "[1]"}.run(t, s)
}

func TestAFailedWriteChangesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newTestRegistry(t, dir)
	call{do: "POST /subjects/a/versions", schema: rec(fieldA), want: `{"id":1}`}.run(t, s)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	call{do: "POST /subjects/a/versions", schema: rec(fieldA, fieldB), status: 500, want: "50001"}.run(t, s)
	call{do: "GET /subjects/a/versions", want: "[1]"}.run(t, s)
}

func TestDamagedOrForeignRegistryIsRefused(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"damaged": "{", "of a later program": `{"format":2}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(registryPath(dir), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := openRegistry(dir); err == nil || !strings.Contains(err.Error(), registryPath(dir)) {
				t.Errorf("got %v, want an error that names the file", err)
			}
		})
	}
}

func TestRegistryWithTheClientOfTheProduct(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cl, err := sr.NewClient(sr.URLs(newTestRegistry(t, t.TempDir()).URL))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range cl.SetCompatibility(ctx, sr.SetCompatibility{Level: sr.CompatFullTransitive}, "lever.stages-value") {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	created, err := cl.CreateSchema(ctx, "lever.stages-value", sr.Schema{Schema: rec(fieldA)})
	if err != nil || created.ID != 1 || created.Version != 1 || created.Subject != "lever.stages-value" {
		t.Fatalf("created %+v, %v", created, err)
	}
	if found, err := cl.LookupSchema(ctx, "lever.stages-value", sr.Schema{Schema: rec(fieldA)}); err != nil || found.ID != 1 {
		t.Errorf("looked up %+v, %v", found, err)
	}
	if s, err := cl.SchemaByID(ctx, 1); err != nil || s.Schema != rec(fieldA) {
		t.Errorf("by id %+v, %v", s, err)
	}
	if c, err := cl.CheckCompatibility(ctx, "lever.stages-value", -1, sr.Schema{Schema: rec(fieldA, fieldBare)}); err != nil || c.Is {
		t.Errorf("compatible %+v, %v", c, err)
	}
	_, err = cl.CreateSchema(ctx, "lever.stages-value", sr.Schema{Schema: rec(fieldA, fieldBare)})
	if e, ok := err.(*sr.ResponseError); !ok || e.StatusCode != http.StatusConflict {
		t.Errorf("got %v, want a conflict", err)
	}
	if r := cl.Compatibility(ctx, "lever.stages-value"); len(r) != 1 || r[0].Level != sr.CompatFullTransitive {
		t.Errorf("levels %+v", r)
	}
}
