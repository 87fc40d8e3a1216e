package offsets

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Owner says which producer works on an account. The producer writes it in its first
// transaction and renews it at least every 15 seconds, so that others know whether it
// is alive and, after an error, whether they were deposed (a transactional id alone
// does not tell: see KIP-447 and KIP-618 for what fencing can say).
type Owner struct {
	// Instance is unique to the producer's process.
	Instance string `json:"instance"`
	// Host and PID say where it runs.
	Host string `json:"host"`
	PID  int    `json:"pid"`
	// Space tells apart machines and containers that have the same name: process ids of one
	// say nothing in another. Empty if it is not known.
	Space string `json:"space,omitempty"`
	// Started and Renewed are in milliseconds since 1970, by the producer's clock.
	Started int64 `json:"started"`
	Renewed int64 `json:"renewed"`
	// LSN is the log sequence number of its last event.
	LSN int64 `json:"lsn"`
	// Version is the program's.
	Version string `json:"version"`
	// Released says that it stopped in good order and the account is free.
	Released bool `json:"released,omitempty"`
}

// Marshal returns the record's value.
func (o Owner) Marshal() ([]byte, error) { return json.Marshal(o) }

// ParseOwner reads the record's value. Members that it does not know are ignored.
func ParseOwner(value []byte) (Owner, error) {
	var o Owner
	if err := json.Unmarshal(value, &o); err != nil {
		return o, fmt.Errorf("the owner record is damaged: %w; if no producer runs, remove it (a record with this key and no value)", err)
	}
	if o.Instance == "" {
		return o, errors.New("the owner record is damaged: it names no instance; if no producer runs, remove it (a record with this key and no value)")
	}
	return o, nil
}

// FreshAt says that the owner renewed its record within ttl before now and has not
// released it, so that it must be taken for alive. Clocks of two machines differ: a
// record from up to ttl in the future counts as fresh too; one from further ahead is
// the work of a wrong clock and does not hold up others for ever.
func (o Owner) FreshAt(now time.Time, ttl time.Duration) bool {
	age := now.Sub(time.UnixMilli(o.Renewed))
	return !o.Released && age < ttl && age > -ttl
}
