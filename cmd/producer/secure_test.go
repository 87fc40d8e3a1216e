package main

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/leverstream/leverstream/internal/sandbox"
)

// These tests need a Kafka with a SASL_SSL listener, on which the user "producer" logs in
// with the password "secret", and an authorizer; TEST_KAFKA_BROKERS is a listener on which
// everybody may do everything.
const (
	secureBrokers = "TEST_KAFKA_SECURE_BROKERS"
	secureCA      = "TEST_KAFKA_SECURE_CA"
	secureCert    = "TEST_KAFKA_SECURE_CERT"
	secureKey     = "TEST_KAFKA_SECURE_KEY"
)

// newSecureStation is a station whose commands log in.
func newSecureStation(t *testing.T) *station {
	t.Helper()
	if os.Getenv(secureBrokers) == "" {
		t.Skipf("set %s, %s, %s and %s to run against a Kafka with TLS, SASL and an authorizer", secureBrokers, secureCA, secureCert, secureKey)
	}
	s := newStation(t, sandbox.Options{Opportunities: 3, Seed: 71})
	maps.Copy(s.env, map[string]string{
		"KAFKA_BROKERS": os.Getenv(secureBrokers), "KAFKA_CA_FILE": os.Getenv(secureCA),
		"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512", "KAFKA_SASL_USERNAME": "producer", "KAFKA_SASL_PASSWORD": "secret",
	})
	return s
}

func TestEveryWayToLogIn(t *testing.T) {
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		for _, mutual := range []bool{false, true} {
			s := newSecureStation(t)
			s.env["KAFKA_SASL_MECHANISM"] = mechanism
			if mutual {
				s.env["KAFKA_CERT_FILE"], s.env["KAFKA_KEY_FILE"] = os.Getenv(secureCert), os.Getenv(secureKey)
			}
			if out := s.does(exitDone, "run", "--once"); strings.Contains(out, "secret") {
				t.Errorf("%s: the password was printed", mechanism)
			}
			if diffs := s.differences(); len(diffs) > 0 {
				t.Errorf("%s, client certificate %v: %d differences, %q", mechanism, mutual, len(diffs), diffs[:min(3, len(diffs))])
			}
		}
	}
}

func TestAFailedLoginSaysWhatToCheck(t *testing.T) {
	for _, test := range []struct {
		name string
		env  map[string]string
		says string
	}{
		{"a wrong password", map[string]string{"KAFKA_SASL_PASSWORD": "wrong-password"}, "user name and password"},
		{"an authority that is not trusted", map[string]string{"KAFKA_CA_FILE": "", "KAFKA_TLS": "true"}, "KAFKA_CA_FILE"},
		{"no TLS", map[string]string{"KAFKA_CA_FILE": ""}, "KAFKA_TLS=true"},
		{"a mechanism that is not enabled", map[string]string{"KAFKA_SASL_MECHANISM": "OAUTHBEARER", "KAFKA_SASL_USERNAME": "", "KAFKA_SASL_PASSWORD": "", "KAFKA_SASL_TOKEN": "wrong-password"}, "do not speak KAFKA_SASL_MECHANISM=OAUTHBEARER"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSecureStation(t)
			maps.Copy(s.env, test.env)
			if out := s.does(exitFailed, "check"); !strings.Contains(out, test.says) || strings.Contains(out, "wrong-password") {
				t.Error(out)
			}
		})
	}
}

// A right is one line of the list in docs/security.md.
type right struct {
	operation kadm.ACLOperation
	name      string
	// on returns the resource, as errors name it, for a prefix.
	on func(prefix string) string
	// optional says that the producer works without it, and warns.
	optional bool
	// creating says that it only matters while topics are missing.
	creating bool
}

func minimalRights() []right {
	topics := func(prefix string) string { return "topic " + prefix + "." }
	return []right{
		{operation: kadm.OpWrite, name: "Write", on: func(p string) string { return "transactional id leverstream-" + p + "-default" }},
		{operation: kadm.OpCreate, name: "Create", on: topics, creating: true},
		{operation: kadm.OpWrite, name: "Write", on: topics},
		{operation: kadm.OpRead, name: "Read", on: func(p string) string { return "topic " + p + ".bookmarks" }},
		{operation: kadm.OpRead, name: "Read", on: func(p string) string { return "topic " + p + ".state" }},
		{operation: kadm.OpDescribeConfigs, name: "DescribeConfigs", on: topics, optional: true},
	}
}

// acl is the right as an ACL of the principal.
func (r right) acl(prefix, principal string) *kadm.ACLBuilder {
	kind, name, _ := strings.Cut(r.on(prefix), "topic ")
	b := kadm.NewACLs().Allow(principal).AllowHosts("*").Operations(r.operation)
	if kind != "" {
		return b.TransactionalIDs(strings.TrimPrefix(r.on(prefix), "transactional id ")).ResourcePatternType(kadm.ACLPatternLiteral)
	}
	b = b.Topics(name)
	if strings.HasSuffix(name, ".") {
		return b.ResourcePatternType(kadm.ACLPatternPrefixed)
	}
	return b.ResourcePatternType(kadm.ACLPatternLiteral)
}

// With exactly the rights of the list the producer works, and check is content; with any
// one less it says which one is missing.
func TestTheMinimalRights(t *testing.T) {
	grant := func(t *testing.T, adm *kadm.Client, b *kadm.ACLBuilder) {
		t.Helper()
		created, err := adm.CreateACLs(t.Context(), b)
		for _, c := range created {
			if err == nil {
				err = c.Err
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if _, err := adm.DeleteACLs(ctx, b); err != nil {
				t.Error(err)
			}
		})
	}
	// prepare grants all rights but the left out one, and makes everything else forbidden:
	// a resource with an ACL of anybody is closed for all others.
	prepare := func(t *testing.T, leaveOut int) *station {
		t.Helper()
		s := newSecureStation(t)
		adm := kadm.NewClient(s.c.Client(t))
		prefix := s.env["KAFKA_TOPIC_PREFIX"]
		grant(t, adm, kadm.NewACLs().Allow("User:nobody").AllowHosts("*").Operations(kadm.OpAll).Clusters().ResourcePatternType(kadm.ACLPatternLiteral))
		for i, r := range minimalRights() {
			grant(t, adm, r.acl(prefix, "User:nobody"))
			if i != leaveOut {
				grant(t, adm, r.acl(prefix, "User:producer"))
			}
		}
		return s
	}
	t.Run("all of them", func(t *testing.T) {
		s := prepare(t, -1)
		s.does(exitDone, "run", "--once")
		if diffs := s.differences(); len(diffs) > 0 {
			t.Errorf("%d differences, %q", len(diffs), diffs[:min(3, len(diffs))])
		}
		out := s.does(exitDone, "check")
		if strings.Contains(out, "warning  Kafka") {
			t.Error(out)
		}
		s.does(exitDone, "bookmarks", "set", "stages", "--section", "paused", "true")
	})
	t.Run("one is taken away from a running producer, and given back", func(t *testing.T) {
		s := prepare(t, -1)
		s.env["POLL_INTERVAL"], s.env["REFRESH_INTERVAL"], s.env["SWEEP_INTERVAL"] = "100ms", "300ms", "1s"
		prefix := s.env["KAFKA_TOPIC_PREFIX"]
		adm := kadm.NewClient(s.c.Client(t))
		write := minimalRights()[2]
		p := start(t, s.env, "run")
		p.says("owner of the account")
		if _, err := adm.DeleteACLs(t.Context(), write.acl(prefix, "User:producer")); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(patience); !strings.Contains(p.out.String(), "lacks the right Write on "+write.on(prefix)); {
			if time.Now().After(deadline) {
				t.Fatalf("it does not say which right is missing:\n%s", p.out.String())
			}
			s.lever.Mutate(1)
			time.Sleep(200 * time.Millisecond)
		}
		grant(t, adm, write.acl(prefix, "User:producer"))
		s.lever.Mutate(5)
		for deadline := time.Now().Add(2 * time.Minute); len(s.differences()) > 0; time.Sleep(200 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("not equal: %q\n%s", s.differences(), p.out.String())
			}
		}
		p.signal(syscall.SIGTERM)
		p.exits(exitDone)
	})
	for i, r := range minimalRights() {
		t.Run("without "+r.name+" on "+r.on("<prefix>"), func(t *testing.T) {
			s := prepare(t, i)
			missing := "lacks the right " + r.name + " on " + r.on(s.env["KAFKA_TOPIC_PREFIX"])
			p := start(t, s.env, "run")
			p.says(missing)
			if r.optional {
				p.says("owner of the account")
			}
			p.signal(syscall.SIGTERM)
			<-p.ended
			status := exitFailed
			if r.optional {
				status = exitDone
			}
			out := s.does(status, "check")
			lines := slices.DeleteFunc(strings.Split(out, "\n"), func(l string) bool { return !strings.Contains(l, missing) })
			if len(lines) == 0 || !strings.Contains(lines[0], "kafka-acls --add") {
				t.Errorf("check does not name the right:\n%s", out)
			}
		})
	}
}
