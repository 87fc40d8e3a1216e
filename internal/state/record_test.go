package state

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestRecordsSurviveARoundTrip(t *testing.T) {
	for _, r := range []Record{
		{},
		{Schema: 1, Row: []byte{}},
		{Schema: 3, Parent: "p", Claimants: []string{"a", "b"}, LSN: 1795460862043001, FollowLSN: 5, ReadAt: time.UnixMilli(1_800_000_000_123).UTC(), DeadHash: []byte{1, 2}, Anonymized: true, Row: []byte("row")},
		{Schema: 1, DeadHash: []byte("hash"), ReadAt: time.UnixMilli(0).UTC()},
	} {
		got, err := ParseRecord(AppendRecord(nil, r))
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("have %+v, %v\nwant %+v", got, err, r)
		}
	}
}

func TestRecordsOfAnotherVersionAreRefused(t *testing.T) {
	b := AppendRecord(nil, Record{Schema: 1})
	b[0] = 2
	if _, err := ParseRecord(b); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Errorf("error %v", err)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add(AppendRecord(nil, Record{Schema: 3, Parent: "p", Claimants: []string{"a"}, LSN: 1, ReadAt: time.UnixMilli(1), DeadHash: []byte{1}, Row: []byte("x")}))
	f.Add([]byte{1, 0})
	f.Add([]byte{1, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRecord(b)
		if err != nil {
			return
		}
		again, err := ParseRecord(AppendRecord(nil, r))
		if err != nil || !bytes.Equal(AppendRecord(nil, r), AppendRecord(nil, again)) {
			t.Errorf("%+v does not survive a round trip: %v", r, err)
		}
	})
}

func TestKeysSurviveARoundTrip(t *testing.T) {
	for _, k := range []Key{
		{Account: "default", Table: "stages", Key: "lead-new"},
		{Account: "a<b>", Table: "sources", Key: `"Job & <site>"`},
		{Account: "default", Commit: true, N: 4095},
	} {
		b := RowKey(k.Account, k.Table, k.Key)
		if k.Commit {
			b = CommitKey(k.Account, k.N)
		}
		if got, err := ParseKey(b); err != nil || got != k {
			t.Errorf("%s: have %+v, %v", b, got, err)
		}
	}
	if got := string(RowKey("default", "sources", "<a & b>")); got != `["default","sources","<a & b>"]` {
		t.Errorf("key %s", got)
	}
	if got := string(CommitKey("default", 7)); got != `["default","#commit",7]` {
		t.Errorf("key %s", got)
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(RowKey("default", "stages", "x"))
	f.Add(CommitKey("default", 7))
	f.Add([]byte(`["",null,{}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseKey(b)
		if err != nil {
			return
		}
		again := RowKey(k.Account, k.Table, k.Key)
		if k.Commit {
			again = CommitKey(k.Account, k.N)
		} else if want := marshal([]string{k.Account, k.Table, k.Key}); !bytes.Equal(again, want) {
			t.Errorf("key %s, as JSON %s", again, want)
		}
		if got, err := ParseKey(again); err != nil || got != k {
			t.Errorf("%+v does not survive a round trip: %+v, %v", k, got, err)
		}
	})
}

func TestCommitsSurviveARoundTrip(t *testing.T) {
	c := Commit{Version: 1, ID: "x/1", LSN: 5, Time: 6}
	if got, err := ParseCommit(c.Marshal()); err != nil || got != c {
		t.Errorf("have %+v, %v", got, err)
	}
	for _, bad := range []string{"", "{}", `{"version":2}`, "[]"} {
		if _, err := ParseCommit([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
