package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestNoSecretIsEverPrinted(t *testing.T) {
	const value = "hunter2"
	vars := map[string]string{
		"KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USERNAME": "u", "SCHEMA_REGISTRY_USERNAME": "u",
	}
	secrets := 0
	for _, v := range Variables() {
		if v.File {
			vars[v.Name] = value
			secrets++
		}
		for _, word := range []string{"TOKEN", "PASSWORD", "SECRET"} {
			public := strings.HasSuffix(v.Name, fileSuffix) || strings.HasSuffix(v.Name, "_URL")
			if strings.Contains(v.Name, word) && !v.File && !public {
				t.Errorf("%s sounds like a secret and is none", v.Name)
			}
		}
	}
	delete(vars, "KAFKA_SASL_TOKEN") // no mechanism takes it beside a password
	c, err := load(t, 0, vars)
	if err != nil {
		t.Fatal(err)
	}
	c.Kafka.SASLToken = NewSecret(value)
	for _, f := range fieldsOf(c) {
		if s, ok := f.value.Interface().(Secret); ok {
			if got, err := s.Read(); got != value || err != nil {
				t.Fatalf("%s is %q, %v: the test looks for the wrong text", f.name, got, err)
			}
		}
	}
	hidden := struct{ inner Config }{*c} // fmt calls no methods within unexported fields
	var printed bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p"} {
		for _, v := range []any{*c, c, hidden, &hidden, c.Lever.Token, &c.Lever.Token, []any{c.Lever.Token}} {
			fmt.Fprintf(&printed, verb+"\n", v)
		}
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&printed, nil), slog.NewJSONHandler(&printed, nil)} {
		slog.New(h).Info("secrets", "config", c, "token", c.Lever.Token, "lever", c.Lever, slog.Any("pointer", &c.Lever.Token))
	}
	for _, v := range []any{c, c.Lever.Token, map[string]any{"t": c.Lever.Token}} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		printed.Write(b)
	}
	for _, form := range []string{value, fmt.Sprintf("%x", value), fmt.Sprintf("%X", value), fmt.Sprint([]byte(value))} {
		if strings.Contains(printed.String(), form) {
			t.Errorf("a secret was printed as %s", form)
		}
	}
	if secrets < 3 || !strings.Contains(printed.String(), redacted) {
		t.Errorf("%d secrets, %s not printed: the test sees nothing", secrets, redacted)
	}
}

func TestSecretsComeFromFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	c, err := load(t, NeedLever, map[string]string{"LEVER_TOKEN_FILE": path})
	if err != nil {
		t.Fatal(err)
	}
	if !c.IsSet("LEVER_TOKEN") {
		t.Error("a token from a file does not count as set")
	}
	for _, want := range []string{"first", "second"} {
		write(want + "\r\n")
		if got, err := c.Lever.Token.Read(); got != want || err != nil {
			t.Errorf("got %q, %v, want %q: files are read again", got, err, want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Lever.Token.Read(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error that names the file", err)
	}
}

func TestZeroSecretIsNotSet(t *testing.T) {
	t.Parallel()
	var s Secret
	if got, err := s.Read(); s.IsSet() || got != "" || err != nil || fmt.Sprint(s) != "" || !reflect.DeepEqual(NewSecret(""), s) {
		t.Errorf("got %q, %v, set %v", got, err, s.IsSet())
	}
}
