package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The types here know what they accept: Set is called by envconfig with the
// variable's value, and its error is what the user reads.

// URL is an http or https address without a trailing slash.
type URL string

// Set accepts an absolute http or https URL without user, query and fragment.
func (u *URL) Set(value string) error {
	parsed, err := url.Parse(value)
	// No error repeats the value, which may hold a password (user:password@host without
	// https:// has none for the parser) or be a key that was meant for another variable.
	switch {
	case err != nil:
		return errors.New("is not a URL; use something like https://host:port/path")
	case parsed.User != nil:
		return errors.New("must not hold a user name or password; they have variables of their own")
	case (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Hostname() == "":
		return errors.New("is not an http or https URL; use something like https://host:port/path")
	case strings.Contains(value, " "): // as files of variables leave it at the end; the parser escapes it
		return errors.New("must not hold spaces, not at its end either")
	case parsed.RawQuery != "" || parsed.ForceQuery || parsed.Fragment != "":
		return errors.New("must end after the path, without ? and #")
	}
	parsed.Host = strings.ToLower(parsed.Host) // as the parser does with the scheme
	*u = URL(strings.TrimRight(parsed.String(), "/"))
	return nil
}

// host returns the host name without port.
func (u URL) host() string {
	parsed, err := url.Parse(string(u))
	if err != nil {
		return ""
	}
	return parsed.Hostname()
}

// inClear says whether credentials sent to the URL can be read on a network.
func (u URL) inClear() bool {
	return strings.HasPrefix(string(u), "http:") && !isLoopback(u.host())
}

// Addr is a host:port to listen on, or empty for "off".
type Addr string

// Set accepts host:port, :port and off.
func (a *Addr) Set(value string) error {
	if strings.EqualFold(value, "off") {
		*a = ""
		return nil
	}
	_, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%q is not an address to listen on; use host:port, :port or off", value)
	}
	*a = Addr(value)
	return nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Share is a part of a whole, between 0 and 1; it is written in percent.
type Share float64

// Set accepts a number from 0 to 100 with a percent sign.
func (s *Share) Set(value string) error {
	number, ok := strings.CutSuffix(value, "%")
	percent, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	// Written so that NaN fails, too.
	if !ok || err != nil || !(percent >= 0 && percent <= 100) {
		return fmt.Errorf("%q is not a share; use a percentage from 0%% to 100%%, such as 10%%", value)
	}
	*s = Share(percent / 100)
	return nil
}

// String returns the share in percent.
func (s Share) String() string { return strconv.FormatFloat(float64(s)*100, 'f', -1, 64) + "%" }

// Name is a topic, a topic prefix or an account: what Kafka accepts as a name.
type Name string

// maxTopicName is Kafka's longest topic name, in bytes.
const maxTopicName = 249

// Set accepts letters, digits, dots, dashes and underscores.
func (n *Name) Set(value string) error {
	if value == "." || value == ".." || len(value) > maxTopicName || !nameRE().MatchString(value) {
		return fmt.Errorf("%q is not a name that Kafka takes; use up to %d letters, digits, dots, dashes and underscores", value, maxTopicName)
	}
	*n = Name(value)
	return nil
}

func nameRE() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9._-]+$`) }

// Brokers are seed brokers, host:port.
type Brokers []string

// Set accepts comma-separated host:port. Spaces and empty items are dropped.
func (b *Brokers) Set(value string) error {
	var brokers Brokers
	for _, item := range items(value) {
		if strings.Contains(item, "@") {
			return errors.New("must not hold a user name or password; use KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD")
		}
		host, port, err := net.SplitHostPort(item)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil || host == "" || strings.Contains(item, "/") {
			return fmt.Errorf("%q is not a broker; use host:port, several separated by commas", item)
		}
		brokers = append(brokers, item)
	}
	if len(brokers) == 0 {
		return errors.New("names no broker; use host:port, several separated by commas")
	}
	*b = brokers
	return nil
}

// TopicConfig is the configuration of a topic, by Kafka's names.
type TopicConfig map[string]string

// Set accepts comma-separated key=value. An item without = belongs to the value
// before it, because values such as cleanup.policy=compact,delete have commas.
func (c *TopicConfig) Set(value string) error {
	config := TopicConfig{}
	last := ""
	for _, item := range items(value) {
		key, v, ok := strings.Cut(item, "=")
		key, v = strings.TrimSpace(key), strings.TrimSpace(v)
		switch {
		case !ok && last != "":
			config[last] += "," + key
			continue
		case !ok || key == "":
			return fmt.Errorf("%q is not a setting; use key=value, several separated by commas", item)
		}
		if _, twice := config[key]; twice {
			return fmt.Errorf("%s is set twice", key)
		}
		config[key], last = v, key
	}
	*c = config
	return nil
}

// items splits a comma-separated list and drops spaces and empty items.
func items(list string) []string {
	var out []string
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// Date is a point in time, in UTC.
type Date struct{ time.Time }

// Set accepts MM/DD/YYYY, YYYY-MM-DD and RFC 3339.
func (d *Date) Set(value string) error {
	for _, layout := range []string{"01/02/2006", time.DateOnly, time.RFC3339, "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, value); err == nil {
			d.Time = t.UTC()
			return nil
		}
	}
	return fmt.Errorf("%q is not a date; use MM/DD/YYYY, YYYY-MM-DD or YYYY-MM-DDThh:mm:ssZ", value)
}

// String returns the date as RFC 3339, empty if there is none.
func (d Date) String() string {
	if d.IsZero() {
		return ""
	}
	return d.Format(time.RFC3339)
}

// Patterns are paths of fields.
type Patterns []string

// Set accepts comma-separated paths. Spaces and empty items are dropped.
func (p *Patterns) Set(value string) error {
	*p = items(value)
	return nil
}
