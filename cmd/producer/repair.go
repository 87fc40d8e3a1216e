package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/leverstream/leverstream/extractor"
	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/config"
	"github.com/leverstream/leverstream/internal/pipeline"
)

const (
	// mostRepairBody is less than what the producer takes in one request.
	mostRepairBody = 60_000
	// repairPatience is how long the producer may read none of the rows that wait.
	repairPatience = 2 * time.Minute
)

// A repairer has a running producer read rows again, through its HTTP_ADDR.
type repairer struct {
	addr  string
	token func() (string, error)
	out   io.Writer
	// tables are those that are read whole, because too many of their rows differ.
	tables map[string]bool
}

func newRepairer(c *config.Config, out io.Writer) (*repairer, error) {
	if c.Program.HTTPAddr == "" {
		return nil, usageError{errors.New("HTTP_ADDR is off: --repair needs the address of the running producer")}
	}
	return &repairer{addr: string(c.Program.HTTPAddr), token: c.Program.AdminToken.Read, out: out, tables: map[string]bool{}}, nil
}

// repair has the rows read, and waits until they were. Tables of which too many rows
// differ are read whole instead; that is not waited for.
func (r *repairer) repair(ctx context.Context, rows []cdc.Again, write bool) error {
	byTable := map[string][]pipeline.RowKey{}
	var order []string
	for _, a := range rows {
		if byTable[a.Table] == nil {
			order = append(order, a.Table)
		}
		byTable[a.Table] = append(byTable[a.Table], pipeline.RowKey{Key: a.Key, Parent: a.Parent})
	}
	before, err := r.rereads(ctx)
	if err != nil {
		return err
	}
	asked := false
	for _, table := range order {
		keys := byTable[table]
		if len(keys) > pipeline.MostReread && !write {
			r.tables[table] = true
			if err := r.post(ctx, table, "resnapshot", nil, nil); err != nil {
				return err
			}
			fmt.Fprintf(r.out, "%s: %d rows are too many to be read one by one; the running producer reads the whole table again. Verify once more when its snapshot is complete. If the topic itself has lost rows: POST /tables/%s/resnapshot?all=true\n", table, len(keys), table)
		}
		if r.tables[table] {
			continue
		}
		if err := r.reread(ctx, table, keys, write); err != nil {
			return err
		}
		asked = true
	}
	if !asked {
		return nil
	}
	return r.wait(ctx, before.Failed)
}

// reread asks for rows of one table, in as many requests as it takes.
func (r *repairer) reread(ctx context.Context, table string, keys []pipeline.RowKey, write bool) error {
	type body struct {
		Rows  []pipeline.RowKey `json:"rows"`
		Write bool              `json:"write"`
	}
	for len(keys) > 0 {
		part := len(keys)
		text, err := json.Marshal(body{keys, write})
		for err == nil && len(text) > mostRepairBody && part > 1 {
			part /= 2
			text, err = json.Marshal(body{keys[:part], write})
		}
		if err != nil {
			return err
		}
		var queued pipeline.Queued
		if err := r.post(ctx, table, "reread", text, &queued); err != nil {
			return err
		}
		keys = keys[part:]
		what := "read again"
		if write {
			what = "written again, because they have not changed for the producer"
		}
		fmt.Fprintf(r.out, "%s: rows to be %s by the running producer: %d, with %d requests to Lever\n", table, what, queued.Rows, queued.Reads)
	}
	return nil
}

// rereads asks what became of the rows that were to be read again.
func (r *repairer) rereads(ctx context.Context) (extractor.RereadStatus, error) {
	var status struct {
		Rereads *extractor.RereadStatus `json:"rereads"`
	}
	if err := r.do(ctx, http.MethodGet, "/status", nil, &status); err != nil {
		return extractor.RereadStatus{}, err
	}
	if status.Rereads == nil {
		return extractor.RereadStatus{}, fmt.Errorf("repair: the producer at HTTP_ADDR=%s is of a version that cannot read single rows again", r.addr)
	}
	return *status.Rereads, nil
}

// wait returns when no rows wait to be read again. failed is how many could not be read
// before.
func (r *repairer) wait(ctx context.Context, failed int64) error {
	for last, since := -1, time.Now(); ; {
		s, err := r.rereads(ctx)
		if err != nil {
			return err
		}
		if s.Waiting == 0 {
			if s.Failed > failed {
				fmt.Fprintf(r.out, "%d rows could not be read; the producer's log says why\n", s.Failed-failed)
			}
			return nil
		}
		if s.Waiting != last {
			last, since = s.Waiting, time.Now()
		}
		if time.Since(since) > repairPatience {
			return fmt.Errorf("repair: the producer at HTTP_ADDR=%s has read none of %d rows within %s; see its status page", r.addr, s.Waiting, repairPatience)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (r *repairer) post(ctx context.Context, table, action string, body []byte, into any) error {
	return r.do(ctx, http.MethodPost, "/tables/"+table+"/"+action, body, into)
}

// do asks the producer and decodes its answer, if into is not nil.
func (r *repairer) do(ctx context.Context, method, path string, body []byte, into any) error {
	token, err := r.token()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+r.addr+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	// A proxy from the environment is meant for Lever, and would see the token.
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("repair: ask the producer at HTTP_ADDR=%s: %w", r.addr, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return fmt.Errorf("repair: read the answer of the producer at HTTP_ADDR=%s: %w", r.addr, err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		var no struct {
			Message string `json:"message"`
		}
		if json.Unmarshal(answer, &no) != nil || no.Message == "" {
			no.Message = "check ADMIN_TOKEN, and that it replicates the account"
		}
		return fmt.Errorf("repair: the producer at HTTP_ADDR=%s answers %s: %s", r.addr, resp.Status, no.Message)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("repair: HTTP_ADDR=%s does not answer as a producer: %w", r.addr, err)
	}
	return nil
}
