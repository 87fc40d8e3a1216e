package embedded

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// repair brings the broker's files into a state that it loads rightly. After a
// stop by Close there is nothing to do.
//
// The broker ends a transaction by writing a marker to one partition after the
// other, without a log of its decision. A kill in between would, by the broker's
// own loading, commit the transaction in some partitions and abort it in others;
// and what it aborts on loading gets no marker, so that readers would also drop
// later, committed records of the same producer. Therefore, before it loads:
//
//   - A transaction with a commit marker in any partition is committed in all: the
//     decision had been made, and all its records are there, because markers are
//     only written when they are.
//   - Every other open transaction is aborted, with a marker.
//   - The producers of both are fenced, as a coordinator would have done.
//   - Half a batch or half an index entry at the end of a file is dropped.
//
// A client that does not raise the epoch with each transaction (before KIP-890,
// Kafka 4) gives two transactions the same name. If the marker found may be of an
// earlier one, the open one is aborted.
func repair(dir string, logger *slog.Logger) error {
	if err := os.Remove(cleanPath(dir)); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	partitions, err := readPartitions(filepath.Join(kafkaDir(dir), "partitions"))
	if err != nil {
		return err
	}
	outcomes := outcomes(partitions)
	committed := 0
	for _, commit := range outcomes {
		if commit {
			committed++
		}
	}
	if err := fence(filepath.Join(kafkaDir(dir), "pids.log"), outcomes); err != nil {
		return err
	}
	if _, err := trimLog(filepath.Join(kafkaDir(dir), "groups.log")); err != nil {
		return err
	}
	for _, p := range partitions {
		if err := p.end(outcomes); err != nil {
			return err
		}
	}
	// Sessions as of an earlier stop, with transactions that are ended now.
	if err := os.Remove(filepath.Join(kafkaDir(dir), "session_state.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(outcomes) > 0 {
		logger.Info("the embedded broker was killed during transactions; they are ended now",
			"committed", committed, "aborted", len(outcomes)-committed)
	}
	return nil
}

func readPartitions(dir string) ([]*partition, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var partitions []*partition
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		p, err := readPartition(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		partitions = append(partitions, p)
	}
	return partitions, nil
}

// outcomes decides about every transaction that is open in some partition: true is
// commit.
func outcomes(partitions []*partition) map[transaction]bool {
	decided := map[transaction]bool{}
	for _, p := range partitions {
		for _, o := range p.open {
			decided[o.transaction] = false
		}
	}
	for t := range decided {
		reused := false
		for _, p := range partitions {
			if e, ok := p.ended[t.producer]; ok && e.transaction == t {
				decided[t] = decided[t] || e.commit
				reused = reused || e.again
			}
			// With a raised epoch, sequence numbers begin at 0.
			if o, ok := p.open[t.producer]; ok && o.transaction == t {
				reused = reused || o.firstSequence != 0
			}
		}
		decided[t] = decided[t] && !reused
	}
	return decided
}

// fence raises the epochs of the producers in the broker's log of producers and
// notes how their transaction ended, for those that ask again.
func fence(path string, outcomes map[transaction]bool) error {
	entries, err := trimLog(path)
	if err != nil {
		return err
	}
	type producer struct {
		Type   string `json:"type"`
		ID     int64  `json:"pid"`
		Epoch  int16  `json:"epoch"`
		Commit bool   `json:"commit"`
	}
	epochs := map[int64]int16{}
	for _, e := range entries {
		var p producer
		if err := json.Unmarshal(e, &p); err == nil {
			epochs[p.ID] = p.Epoch
		}
	}
	var add []byte
	for t, commit := range outcomes {
		if epoch, known := epochs[t.producer]; !known || epoch > t.epoch {
			continue
		}
		b, err := json.Marshal(producer{Type: "endtx", ID: t.producer, Epoch: t.epoch + 1, Commit: commit})
		if err != nil {
			return err
		}
		add = append(add, logEntry(b)...)
	}
	if len(add) == 0 {
		return nil
	}
	return appendFile(path, add)
}

// The broker's logs are sequences of entries: length of the rest, checksum of what
// follows it, version, JSON.
const (
	logHeader  = 8
	logVersion = 1
)

func logEntry(data []byte) []byte {
	e := make([]byte, logHeader+2, logHeader+2+len(data))
	binary.LittleEndian.PutUint16(e[logHeader:], logVersion)
	e = append(e, data...)
	binary.LittleEndian.PutUint32(e, uint32(len(e)-logHeader))
	binary.LittleEndian.PutUint32(e[4:], crc32.Checksum(e[logHeader:], crc32.MakeTable(crc32.Castagnoli)))
	return e
}

// trimLog returns the entries of a log and drops half an entry at its end, behind
// which the broker would not find what it appends.
func trimLog(path string) (entries [][]byte, err error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	pos := 0
	for len(raw)-pos >= logHeader+2 {
		length := int(binary.LittleEndian.Uint32(raw[pos:]))
		if length < 2 || length > len(raw)-pos-logHeader {
			break
		}
		body := raw[pos+logHeader:][:length]
		if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(raw[pos+4:]) {
			return nil, damaged(path, int64(pos))
		}
		entries = append(entries, body[2:])
		pos += logHeader + length
	}
	if pos == len(raw) {
		return entries, nil
	}
	if err := os.Truncate(path, int64(pos)); err != nil {
		return nil, fmt.Errorf("drop half an entry: %w", err)
	}
	return entries, nil
}
