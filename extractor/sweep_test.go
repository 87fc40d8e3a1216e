package extractor

import (
	"math/rand/v2"
	"testing"
	"time"
)

// However often the program is away, for however long: when it has swept what is due, no
// row was read longer ago than an interval.
func TestNoRowWaitsLongerThanAnInterval(t *testing.T) {
	const rows, interval = 50, 24 * time.Hour
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		now := time.UnixMilli(1_800_000_000_000)
		s := sweepSection{Began: now.UnixMilli(), Total: rows}
		read := make([]time.Time, rows)
		for i := range read {
			read[i] = now
		}
		reads := 0
		for range 100 {
			away := interval / 30
			if random.IntN(4) == 0 {
				away = 3 * interval
			}
			now = now.Add(time.Duration(random.Int64N(int64(away))))
			for !now.Before(s.due(s.Done+1, interval)) {
				if s.Done == rows {
					s = s.next(interval, rows)
					continue
				}
				s.open(now)
				read[s.Done] = now
				s.Done++
				if reads++; reads > 100_000 {
					t.Fatal("it never ends")
				}
			}
			for i, at := range read {
				if age := now.Sub(at); age > interval+time.Millisecond {
					t.Fatalf("seed %d: row %d was read %s ago", seed, i, age)
				}
			}
		}
	}
}

// While the program is awake a pass takes an interval, and every row is read once in it.
func TestASweepIsEven(t *testing.T) {
	const rows, interval = 100, 100 * time.Minute
	began := time.UnixMilli(1_800_000_000_000)
	s := sweepSection{Began: began.UnixMilli(), Total: rows}
	for minute := range 300 {
		now, reads := began.Add(time.Duration(minute)*time.Minute), 0
		for !now.Before(s.due(s.Done+1, interval)) {
			if s.Done == rows {
				s = s.next(interval, rows)
				continue
			}
			s.open(now)
			s.Done++
			reads++
		}
		if reads > 1 || reads == 0 && minute > 0 {
			t.Fatalf("%d rows in minute %d", reads, minute)
		}
	}
}
