package config

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leverstream/leverstream/internal/cdc"
	"github.com/leverstream/leverstream/internal/mask"
)

// complete fills in the defaults that depend on other variables.
func (c *Config) complete(tables []cdc.Table, ps *problems) {
	c.Lever.Tables = selected(c.Lever.Tables, tables, ps)
	k := &c.Kafka
	if k.BookmarksTopic == "" {
		k.BookmarksTopic = k.TopicPrefix + ".bookmarks"
	}
	if k.StateTopic == "" {
		k.StateTopic = k.TopicPrefix + ".state"
	}
	if !c.set["KAFKA_TLS"] {
		k.TLS = k.CAFile != "" || k.CertFile != "" || k.KeyFile != ""
	}
	if c.Program.StateDir == "" {
		c.Program.StateDir = defaultStateDir()
	}
}

// defaultStateDir returns a directory of this user's.
func defaultStateDir() string {
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "leverstream")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("leverstream-%d", os.Getuid()))
}

// selected returns the names of the wanted tables in the order of the catalogue,
// all if none is named.
func selected(wanted []string, tables []cdc.Table, ps *problems) []string {
	const variable = "LEVER_TABLES"
	var known []string
	for _, t := range tables {
		known = append(known, t.Name)
	}
	want := map[string]bool{}
	for _, name := range items(strings.Join(wanted, ",")) {
		if !slices.Contains(known, name) {
			ps.addf(variable, "%q is not a table%s", name, orAll(didYouMean(strings.ToLower(name), known), known))
			continue
		}
		want[name] = true
	}
	if len(wanted) == 0 {
		return known
	}
	if len(want) == 0 && !ps.has(variable) {
		ps.addf(variable, "names no table%s", orAll("", known))
	}
	var names []string
	for _, t := range tables {
		if !want[t.Name] {
			continue
		}
		if t.Parent != "" && !want[t.Parent] {
			ps.addf(variable, "%s needs its parent %s; add %s", t.Name, t.Parent, t.Parent)
		}
		names = append(names, t.Name)
	}
	return names
}

func orAll(suggestion string, known []string) string {
	if suggestion == "" && len(known) > 0 {
		return "; use " + alternatives(known)
	}
	return suggestion
}

// check reports what is wrong with several variables together, and files that a
// needed system's variables name and that cannot be read.
func (c *Config) check(tables []cdc.Table, need Need, ps *problems) {
	c.checkTopics(tables, ps)
	c.checkTLS(ps)
	c.checkSASL(ps)
	c.checkMasks(tables, ps)
	if need&NeedLever != 0 {
		c.checkAdmin(ps)
	}
	if c.Registry.Username == "" && c.Registry.Password.IsSet() {
		ps.addf("SCHEMA_REGISTRY_USERNAME", "is not set, but the password is; set both or none")
	}
	if c.Registry.Username != "" && !c.Registry.Password.IsSet() {
		ps.addf("SCHEMA_REGISTRY_PASSWORD", "is not set, but the user name is; set both or none")
	}
	c.checkFiles(need, ps)
}

func (c *Config) checkTopics(tables []cdc.Table, ps *problems) {
	k := c.Kafka
	dlq := string(k.TopicPrefix) + ".dlq"
	taken := map[string]string{dlq: "the topic of rows that could not become an event"}
	longest := len(".bookmarks")
	for _, t := range tables {
		taken[string(k.TopicPrefix)+"."+t.Name] = "the topic of the table " + t.Name
		longest = max(longest, len(t.Name)+1)
	}
	if len(k.TopicPrefix)+longest > maxTopicName {
		ps.addf("KAFKA_TOPIC_PREFIX", "is too long; use at most %d characters, so that topics stay within Kafka's %d", maxTopicName-longest, maxTopicName)
	}
	if what, ok := taken[string(k.BookmarksTopic)]; ok {
		ps.addf("KAFKA_BOOKMARKS_TOPIC", "%s is %s; use a topic of its own", k.BookmarksTopic, what)
	}
	taken[string(k.BookmarksTopic)] = "the topic of the bookmarks"
	if what, ok := taken[string(k.StateTopic)]; ok {
		ps.addf("KAFKA_STATE_TOPIC", "%s is %s; use a topic of its own", k.StateTopic, what)
	}
}

// leastHashKey is the length, in bytes, below which a key could be tried out.
const leastHashKey = 16

// checkMasks looks at the rules for fields. All tables may be named, selected or not.
func (c *Config) checkMasks(tables []cdc.Table, ps *problems) {
	if len(tables) == 0 {
		return // the command has no tables
	}
	check := func(variable string, patterns []string, a mask.Action) {
		for _, p := range mask.Match(tables, patterns, a) {
			suggestion := ""
			if p.Unknown {
				suggestion = didYouMean(p.Pattern, mask.Paths(tables))
			}
			ps.addf(variable, "%q %s%s", p.Pattern, p.Text, suggestion)
		}
	}
	check("LEVER_EXCLUDE_FIELDS", c.Lever.ExcludeFields, mask.Exclude)
	check("LEVER_HASH_FIELDS", c.Lever.HashFields, mask.Hash)
	if len(c.Lever.HashFields) == 0 || ps.has("LEVER_HASH_KEY") {
		return
	}
	key, err := c.Lever.HashKey.Read()
	switch {
	case err != nil:
		ps.addf("LEVER_HASH_KEY"+fileSuffix, "%v", err)
	case key == "":
		ps.addf("LEVER_HASH_KEY", "is not set; LEVER_HASH_FIELDS needs it (or LEVER_HASH_KEY_FILE, the name of a file that holds it)")
	case len(key) < leastHashKey:
		ps.addf("LEVER_HASH_KEY", "is too short to protect anything; use at least %d random characters", leastHashKey)
	}
}

func (c *Config) checkTLS(ps *problems) {
	k := c.Kafka
	if c.set["KAFKA_TLS"] && !k.TLS && !ps.has("KAFKA_TLS") && (k.CAFile != "" || k.CertFile != "" || k.KeyFile != "") {
		ps.addf("KAFKA_TLS", "is false, but certificates are given; set it to true or remove KAFKA_CA_FILE, KAFKA_CERT_FILE and KAFKA_KEY_FILE")
	}
	if k.CertFile != "" && k.KeyFile == "" {
		ps.addf("KAFKA_KEY_FILE", "is not set, but KAFKA_CERT_FILE is; set both or none")
	}
	if k.CertFile == "" && k.KeyFile != "" {
		ps.addf("KAFKA_CERT_FILE", "is not set, but KAFKA_KEY_FILE is; set both or none")
	}
}

func (c *Config) checkSASL(ps *problems) {
	const mechanism = "KAFKA_SASL_MECHANISM"
	k := c.Kafka
	switch {
	case ps.has(mechanism):
	case k.SASLMechanism == "":
		if k.SASLUsername != "" || k.SASLPassword.IsSet() {
			ps.addf(mechanism, "is not set, but user name or password are; use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
		}
	default:
		if k.SASLUsername == "" {
			ps.addf("KAFKA_SASL_USERNAME", "is not set; %s needs it", k.SASLMechanism)
		}
		if !k.SASLPassword.IsSet() && !ps.has("KAFKA_SASL_PASSWORD") {
			ps.addf("KAFKA_SASL_PASSWORD", "is not set; %s needs it (or KAFKA_SASL_PASSWORD_FILE, the name of a file that holds it)", k.SASLMechanism)
		}
	}
}

// checkAdmin sees to it that nobody else on a network can steer the program.
func (c *Config) checkAdmin(ps *problems) {
	addr := string(c.Program.HTTPAddr)
	if addr == "" || ps.has("HTTP_ADDR") || ps.has("ADMIN_TOKEN") {
		return
	}
	if host, _, err := net.SplitHostPort(addr); err == nil && !isLoopback(host) && !c.Program.AdminToken.IsSet() {
		ps.addf("ADMIN_TOKEN", "is not set, but HTTP_ADDR is not loopback; set it (or ADMIN_TOKEN_FILE), or use 127.0.0.1")
	}
}

// checkFiles reads the files once, so that a wrong name is reported now and not
// by the first connection.
func (c *Config) checkFiles(need Need, ps *problems) {
	secret := func(name string, s Secret) {
		if _, err := s.Read(); err != nil {
			ps.addf(name+fileSuffix, "%v", err)
		}
	}
	if need&NeedLever != 0 {
		secret("LEVER_TOKEN", c.Lever.Token)
		secret("ADMIN_TOKEN", c.Program.AdminToken)
	}
	if need&NeedKafka != 0 {
		secret("KAFKA_SASL_PASSWORD", c.Kafka.SASLPassword)
		if _, err := trusted(c.Kafka.CAFile); err != nil {
			ps.addf("KAFKA_CA_FILE", "%v", err)
		}
		if c.Kafka.CertFile != "" && c.Kafka.KeyFile != "" {
			if _, err := keyPair(c.Kafka.CertFile, c.Kafka.KeyFile); err != nil {
				ps.addf("KAFKA_CERT_FILE", "%v", err)
			}
		}
	}
	if need&NeedRegistry != 0 {
		secret("SCHEMA_REGISTRY_PASSWORD", c.Registry.Password)
		if _, err := trusted(c.Registry.CAFile); err != nil {
			ps.addf("SCHEMA_REGISTRY_CA_FILE", "%v", err)
		}
	}
}

// Warnings says what is allowed and probably not meant: credentials that cross a
// network in clear, and a rate above Lever's own limit. Each names its variable.
func (c *Config) Warnings() []string {
	var ws []string
	if c.Lever.Token.IsSet() && c.Lever.APIURL.inClear() {
		ws = append(ws, "LEVER_API_URL is not https: the token crosses the network in clear")
	}
	if host := c.Lever.APIURL.host(); host == "lever.co" || strings.HasSuffix(host, ".lever.co") {
		if c.Lever.Rate > leverRate {
			ws = append(ws, fmt.Sprintf("LEVER_RATE is above the %d requests per second that Lever allows a key: expect waiting", leverRate))
		}
		if c.Lever.Burst > leverBurst {
			ws = append(ws, fmt.Sprintf("LEVER_BURST is above the %d requests that Lever lets a key send at once: expect waiting", leverBurst))
		}
	}
	if c.Lever.HashKey.IsSet() && len(c.Lever.HashFields) == 0 {
		ws = append(ws, "LEVER_HASH_KEY is set, but LEVER_HASH_FIELDS is not: nothing is hashed")
	}
	if c.Kafka.SASLMechanism == "PLAIN" && !c.Kafka.TLS {
		ws = append(ws, "KAFKA_SASL_MECHANISM is PLAIN without KAFKA_TLS: the password crosses the network in clear")
	}
	if c.Registry.Password.IsSet() && c.Registry.URL.inClear() {
		ws = append(ws, "SCHEMA_REGISTRY_URL is not https: the password crosses the network in clear")
	}
	return ws
}

// Lever's documented limits of one key: requests per second, and at once.
const (
	leverRate  = 10
	leverBurst = 20
)
