package lever

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

func TestDecodePage(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		records    int
		next       string
		problem    string // empty if the page is good
	}{
		{name: "last page", body: `{"data":[{"id":"a"},{"id":"b"}],"hasNext":false}`, records: 2},
		{name: "page before others", body: `{"data":[{"id":"a"}],"hasNext":true,"next":"%5B3%5D"}`, records: 1, next: "%5B3%5D"},
		{name: "empty list", body: emptyPage},
		{name: "list without hasNext", body: `{"data":[{}]}`, records: 1},
		{name: "next without hasNext is followed", body: `{"data":[],"next":"x"}`, next: "x"},
		{name: "hasNext false wins over next", body: `{"data":[],"hasNext":false,"next":"x"}`},
		{name: "null means absent", body: `{"data":[],"hasNext":null,"next":null}`},
		{name: "single object", body: `{"data":{"id":"a"}}`, records: 1},
		{name: "unknown members are ignored", body: ` {"data":[],"new":[1]} ` + "\n"},
		{name: "hasNext without next", body: `{"data":[],"hasNext":true}`, problem: "says that there is a next page, but not which"},
		{name: "hasNext with empty next", body: `{"data":[],"hasNext":true,"next":""}`, problem: "says that there is a next page, but not which"},
		{name: "next of another type", body: `{"data":[],"hasNext":true,"next":3}`, problem: "has a next that is not a string"},
		{name: "hasNext of another type", body: `{"data":[],"hasNext":"false"}`, problem: "has a hasNext that is neither true nor false"},
		{name: "no data", body: `{"hasNext":false}`, problem: "has no data"},
		{name: "data in other letters", body: `{"Data":[]}`, problem: "has no data"},
		{name: "null data", body: `{"data":null}`, problem: "has data that is neither a list nor an object"},
		{name: "text as data", body: `{"data":"secret"}`, problem: "has data that is neither a list nor an object"},
		{name: "list of something else", body: `{"data":["a",null]}`, problem: "has a list with nothing in it that is an object"},
		{name: "bare list", body: `[{"id":"a"}]`, problem: "is not a JSON object"},
		{name: "HTML", body: `<html>maintenance</html>`, problem: "is not JSON"},
		{name: "nothing", body: ``, problem: "is empty or cut off"},
		{name: "cut", body: `{"data":[{"id":"a"},{"id`, problem: "is empty or cut off"},
		{name: "two values", body: emptyPage + emptyPage, problem: "has something after the JSON"},
		{name: "a form feed", body: emptyPage + "\f", problem: "has something after the JSON"},
		{name: "a space of Unicode", body: emptyPage + "\u00a0", problem: "has something after the JSON"},
		{name: "very deep", body: `{"data":` + strings.Repeat("[", 20000), problem: "is not JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := decodePage([]byte(tt.body))
			if got := fmt.Sprint(err); tt.problem != "" && got != tt.problem || tt.problem == "" && err != nil {
				t.Fatalf("error %q, want %q", got, tt.problem)
			}
			if len(p.Data) != tt.records || p.Next != tt.next {
				t.Errorf("%d records, next %q; want %d, %q", len(p.Data), p.Next, tt.records, tt.next)
			}
		})
	}
}

// Decoders are used again: what came before says nothing about a page.
func TestAPageIsReadAloneWhateverCameBefore(t *testing.T) {
	for _, end := range []string{"", " ", "\r\n\t ", strings.Repeat("\n", 5000), "\f", "\v", "\u0085", "\u00a0", "\x00", "x", ",", "{", "]", "0", `"`, "null", "\xff"} {
		_, _ = decodePage([]byte(onePage + end))
		if p, err := decodePage([]byte(onePage)); err != nil || len(p.Data) != 1 {
			t.Errorf("after a page with %.20q behind it a good one gives %d records, error %v", end, len(p.Data), err)
		}
	}
}

// A page that is much larger than others is not paid for with memory for ever.
func TestALargePageLeavesNothingInMemory(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // each has decoders of its own
	heap := func() uint64 {
		for range 5 { // what is used again and again survives this
			if _, err := decodePage([]byte(onePage)); err != nil {
				t.Fatal(err)
			}
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	if _, err := decodePage([]byte(`{"data":[{"id":"` + strings.Repeat("a", 16<<20) + `"}]}`)); err != nil {
		t.Fatal(err)
	}
	if after := heap(); after > before+8<<20 {
		t.Errorf("%d MiB are kept", (after-before)>>20)
	}
}

func TestNumbersStayAsLeverWroteThem(t *testing.T) {
	p, err := decodePage([]byte(`{"data":{"a":12345678901234567890,"b":230.50,"c":1e3}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"a": json.Number("12345678901234567890"), "b": json.Number("230.50"), "c": json.Number("1e3")}
	if !reflect.DeepEqual(p.Data[0], want) {
		t.Errorf("got %v", p.Data[0])
	}
}

// A page that decodes is whole: it can be written and decoded again to the same.
func FuzzDecodePage(f *testing.F) {
	for _, seed := range []string{
		emptyPage, onePage, `{"data":{"id":"a","n":1.50}}`, `{"data":[{}],"hasNext":true,"next":"%5B%22a%22%5D"}`,
		`{"data":[null]}`, `{"data":[],"hasNext":true}`, `{"data":"\ud800"}`, `[]`, `<html>`, "", `{"data":[]}x`, "\xff", `{"data":[],"data":{}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := decodePage(body)
		if err != nil {
			if p.Data != nil || p.Next != "" {
				t.Fatalf("a page came with error %v", err)
			}
			return
		}
		if p.Data == nil {
			t.Fatal("no records and no error")
		}
		for i, record := range p.Data {
			if record == nil {
				t.Fatalf("record %d is missing", i)
			}
		}
		again, err := json.Marshal(map[string]any{"data": p.Data, "hasNext": p.Next != "", "next": p.Next})
		if err != nil {
			t.Fatal(err)
		}
		q, err := decodePage(again)
		if err != nil || !reflect.DeepEqual(p, q) {
			t.Fatalf("%v became %v, error %v", p, q, err)
		}
	})
}

// What is decoded is what encoding/json makes of it, and what that refuses is refused.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		emptyPage, onePage, `{"a":1,"a":{"b":[]},"":null}`, `{"a":1,"a":{"b":2},"a":{"c":3}}`, `[1,]`, `[1 2]`, `{"a":1,}`, `{"a" 1}`, `{1:2}`, `[}`, `{]`, `nul`, `-`, `01`, `1.`, `-0`, `1E+5`, `1e999`, `[[],{},"",0,true,false,null]`,
		`"\ud800"`, `"\ud83d\ude00"`, `"\u00`, "\"\xff\"", "{\"\xff\":1,\"\\ufffd\":2}", "\"\x01\"", "\"\u2028\"", "\ufeff{}", " \t\r\n{} ", `"a"b`, `{}{}`, `{"data":"<&>"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		read := bytes.Clone(body)
		got, err := decode(read)
		clear(read) // as the next answer will
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		var want any
		wanted := d.Decode(&want)
		if _, more := d.Token(); wanted == nil && !errors.Is(more, io.EOF) {
			wanted = errors.New("there is more")
		}
		if (err == nil) != (wanted == nil) {
			t.Fatalf("error %v, encoding/json's %v", err, wanted)
		}
		if err == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("got %#v, encoding/json has %#v", got, want)
		}
	})
}

func BenchmarkDecodePage(b *testing.B) {
	const record = `{"id":"5599cc20-1111-4222-8333-%012d","name":"Rowan Example","headline":"Engineer","contact":"c","stage":"applicant-new","stageChanges":[{"toStageId":"lead-new","toStageIndex":0,"updatedAt":1491435120000,"userId":"u"}],"emails":["rowan@example.test"],"phones":[{"type":"mobile","value":"0"}],"tags":["a","b"],"sources":["Referral"],"createdAt":1491435120000,"updatedAt":null,"archived":null,"urls":{"list":"https://hire.example.test/1","show":"https://hire.example.test/2"},"applications":[{"id":"x","type":"posting","createdAt":1491435120000,"posting":"p","user":null}]}`
	records := make([]string, 100)
	for i := range records {
		records[i] = fmt.Sprintf(record, i)
	}
	body := []byte(`{"data":[` + strings.Join(records, ",") + `],"hasNext":true,"next":"%5B3%2C1491435120000%5D"}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodePage(body); err != nil {
			b.Fatal(err)
		}
	}
}
