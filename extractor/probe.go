package extractor

import (
	"cmp"
	"context"
	"net/url"
	"slices"

	"github.com/leverstream/leverstream/internal/cdc"
)

// Access is what an endpoint answered when it was asked for one record.
type Access struct {
	// Path is the endpoint, with :id in the place of ids.
	Path string
	// Tables are the selected tables that are read from it.
	Tables []string
	// Asked is false if the endpoint lies under a record and there was none to ask with.
	Asked bool
	// Err is what Lever answered (see package cdc); nil if it may be read.
	Err error
}

// Probe asks every endpoint that the selected tables are read from once, for a single
// record, so that a missing permission is known before anything is replicated.
func Probe(ctx context.Context, api Lever, tables []cdc.Table, native bool, confidentiality string) []Access {
	p := prober{api: api, tables: tables, ids: map[string]string{}}
	confidential := url.Values{"confidentiality": {confidentiality}}
	for _, f := range fullLists() {
		q := url.Values{}
		for k, v := range f.query {
			q.Set(k, v)
		}
		if f.confidential {
			q.Set("confidentiality", confidentiality)
		}
		p.ask(ctx, f.path, f.path, q, f.table)
	}
	for _, l := range listings(native) {
		if l.noSnapshot {
			continue // it is a full list, too
		}
		q := url.Values{"confidentiality": confidential["confidentiality"]}
		for _, x := range l.expand {
			q.Add("expand", x)
		}
		all := slices.Clone(l.tables)
		for _, n := range l.nested {
			all = append(all, n.tables...)
		}
		p.ask(ctx, l.path, l.path, q, all...)
		p.feed(ctx, l.deletions, l.tables)
		for _, n := range l.nested {
			p.feed(ctx, n.deletions, n.tables)
		}
	}
	for _, c := range childLists(native) {
		id := p.ids[c.of]
		path := c.of + "/" + url.PathEscape(id) + "/" + c.name
		if id == "" {
			path = ""
		}
		p.ask(ctx, c.of+"/:id/"+c.name, path, url.Values{}, c.tables...)
	}
	return p.found
}

type prober struct {
	api    Lever
	tables []cdc.Table
	ids    map[string]string // the first record of a list, by path
	found  []Access
}

func (p *prober) feed(ctx context.Context, path string, tables []string) {
	if path != "" {
		// An empty window: the answer is all that counts.
		p.ask(ctx, path, path, url.Values{"deleted_at_start": {"0"}, "deleted_at_end": {"1"}}, tables...)
	}
}

// ask asks the endpoint, unless it feeds none of the selected tables. An empty path says
// that there is nothing to ask with.
func (p *prober) ask(ctx context.Context, endpoint, path string, q url.Values, tables ...string) {
	a := Access{Path: endpoint}
	for _, t := range p.tables {
		if slices.Contains(tables, t.Name) {
			a.Tables = append(a.Tables, t.Name)
		}
	}
	if len(a.Tables) == 0 {
		return
	}
	if i := slices.IndexFunc(p.found, func(x Access) bool { return x.Path == endpoint }); i >= 0 {
		known := &p.found[i]
		for _, t := range a.Tables {
			if !slices.Contains(known.Tables, t) {
				known.Tables = append(known.Tables, t)
			}
		}
		return
	}
	if path != "" {
		var page cdc.Page
		a.Asked = true
		page, a.Err = p.api.Get(ctx, cdc.Request{Class: cdc.ClassCheck, Path: path, Query: q, Limit: 1})
		if len(page.Data) > 0 {
			p.ids[endpoint] = cmp.Or(p.ids[endpoint], text(page.Data[0], "id"))
		}
	}
	p.found = append(p.found, a)
}
