package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is the producer, running.
type process struct {
	cmd    *exec.Cmd
	log    log
	ended  chan error
	cancel context.CancelFunc
	// watched is closed when nobody looks at its memory any more.
	watched chan struct{}

	mu        sync.Mutex
	anonymous int64
}

// log collects what the producer logs.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start starts the producer, by way of the command that wraps it if there is one. End waits for it.
func (w *workload) start(ctx context.Context, rate int, args ...string) (*process, error) {
	ctx, cancel := context.WithCancel(ctx)
	args = slices.Concat(w.o.wrap, []string{w.binary}, args)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // the program just built, and what the user runs it by
	p := &process{cmd: cmd, ended: make(chan error, 1), cancel: cancel, watched: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), w.env(rate)...)
	p.cmd.Stderr = &p.log
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(os.Interrupt) }
	p.cmd.WaitDelay = time.Minute
	if err := p.cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	go p.watch(ctx)
	go func() { p.ended <- p.cmd.Wait() }()
	return p, nil
}

// watch looks at the memory five times a second.
func (p *process) watch(ctx context.Context) {
	defer close(p.watched)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		n := anonymous(p.cmd.Process.Pid)
		p.mu.Lock()
		p.anonymous = max(p.anonymous, n)
		p.mu.Unlock()
	}
}

// end waits until the producer has ended by itself, or has it end.
func (p *process) end(stop bool) error {
	if stop {
		p.cancel()
	}
	err := <-p.ended
	p.cancel()
	<-p.watched
	if err != nil && !(stop && errors.Is(err, context.Canceled)) {
		return fmt.Errorf("the producer ended with %w:\n%s", err, p.log.String())
	}
	return nil
}

// peak is the most anonymous memory seen.
func (p *process) peak() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.anonymous
}

// cpu is the time that the process, which has ended, computed.
func (p *process) cpu() time.Duration {
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

// summary is the last line that the producer logs.
type summary struct {
	Message      string `json:"msg"`
	Events       int64  `json:"events"`
	Transactions int64  `json:"transactions"`
	Requests     int64  `json:"requests"`
}

func (p *process) summary() (s summary, err error) {
	for text := range strings.Lines(p.log.String()) {
		if json.Unmarshal([]byte(text), &s) == nil && s.Message == "stopped" {
			return s, nil
		}
	}
	return s, fmt.Errorf("the producer's log has no summary:\n%s", p.log.String())
}

// anonymous is RssAnon: what cannot be given back to a file.
func anonymous(pid int) int64 {
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0 // it has ended, or this is no Linux
	}
	return kilobytes(string(status), "RssAnon:")
}

// kilobytes reads a line like "RssAnon:  1234 kB", in bytes.
func kilobytes(text, name string) int64 {
	_, after, _ := strings.Cut(text, name)
	fields := strings.Fields(after)
	if len(fields) == 0 {
		return 0
	}
	n, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}

// computed is the time that a running process has computed.
func computed(pid int) time.Duration {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	_, after, _ := bytes.Cut(stat, []byte(") "))
	fields := strings.Fields(string(after))
	const user, system, ticks = 11, 12, 100 // proc(5); USER_HZ is 100 on all that Go runs on
	if len(fields) <= system {
		return 0
	}
	u, _ := strconv.ParseInt(fields[user], 10, 64)
	s, _ := strconv.ParseInt(fields[system], 10, 64)
	return time.Duration(u+s) * time.Second / ticks
}

// size is what the files of a directory take.
func size(dir string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			bytes += s.Blocks * 512
		}
		return nil
	})
	return bytes, err
}

// machine describes this machine.
func machine() string {
	out := fmt.Sprintf("%s, %d cores, %s/%s", runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		_, after, _ := strings.Cut(string(info), "model name")
		model, _, _ := strings.Cut(strings.TrimLeft(after, "\t :"), "\n")
		out += ", " + model
	}
	if info, err := os.ReadFile("/proc/meminfo"); err == nil {
		out += fmt.Sprintf(", %d GiB", kilobytes(string(info), "MemTotal:")>>30)
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		fields := strings.Fields(string(load))
		out += ", load " + fields[0] + " before"
	}
	return out
}
