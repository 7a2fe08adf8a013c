package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"headwater/services/internal/process"
)

// Config is which broker is read, and how.
type Config struct {
	From         string   `name:"from" placeholder:"URL"`
	Topics       []string `name:"from-topics" help:"Topics of that broker to read, with + and #." default:"#"`
	Version      string   `name:"from-version" help:"Version of MQTT to speak with that broker: 3.1.1 or 5." enum:"3.1.1,5" default:"3.1.1"`
	ClientID     string   `name:"from-client-id"`
	PasswordFile string   `name:"from-password-file" help:"File that holds the password of the user in the URL." type:"path"`
	CA           string   `name:"from-ca" help:"File with the certificates that sign that broker's, in place of the system's." type:"path"`
	Cert         string   `name:"from-cert" help:"File with a certificate to log in with, if that broker wants one." type:"path"`
	Key          string   `name:"from-key" help:"File with its key." type:"path"`
}

// FlagHelp returns the help that is too long for a tag, by field.
func (Config) FlagHelp() map[string]string {
	return map[string]string{
		"From": "Existing broker whose messages are read too: mqtt://host:1883, or mqtts:// for TLS, with a user as in " +
			"mqtt://user@host. It acknowledges nothing to that broker before it is stored.",
		"ClientID": "Client id there, under which the broker keeps what is not read yet. Made up for this installation by default; " +
			"only one client may use it.",
	}
}

// Bounds of the configuration.
const (
	maxTopics = 64
	maxName   = 1024
)

var errURL = errors.New("from: give it as mqtt://host:1883 or mqtts://host:8883, with a user as in mqtt://user@host, and the password in --from-password-file")

// Validate reports every problem of the configuration.
func (c Config) Validate() error {
	if c.From == "" {
		if c.PasswordFile+c.CA+c.Cert+c.Key+c.ClientID != "" {
			return errors.New("from-password-file, from-ca, from-cert, from-key and from-client-id need --from")
		}
		return nil
	}
	var problems []error
	b, err := c.broker()
	if err != nil {
		problems = append(problems, err)
	} else if !b.secure && c.CA+c.Cert+c.Key != "" {
		problems = append(problems, errors.New("from-ca, from-cert, from-key: they need mqtts://"))
	}
	if c.PasswordFile != "" && b.user == "" && err == nil {
		problems = append(problems, errors.New("from-password-file: name the user in the URL, as in mqtt://user@host"))
	}
	if (c.Cert == "") != (c.Key == "") {
		problems = append(problems, errors.New("from-cert and from-key belong together"))
	}
	if len(c.Topics) == 0 || len(c.Topics) > maxTopics {
		problems = append(problems, fmt.Errorf("from-topics: %d of them are not within 1 and %d", len(c.Topics), maxTopics))
	}
	for _, t := range c.Topics {
		if err := checkFilter(t); err != nil {
			problems = append(problems, fmt.Errorf("from-topics: %q: %w", t, err))
		}
	}
	if len(c.ClientID) > maxName {
		problems = append(problems, fmt.Errorf("from-client-id: at most %d bytes", maxName))
	}
	return errors.Join(problems...)
}

// broker is where a broker is.
type broker struct {
	// address is host:port.
	address, host, user string
	secure              bool
}

func (c Config) broker() (broker, error) {
	u, err := url.Parse(c.From)
	if err != nil || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return broker{}, errURL
	}
	if _, given := u.User.Password(); given {
		return broker{}, errURL
	}
	b := broker{host: u.Hostname(), user: u.User.Username()}
	port := "1883"
	switch u.Scheme {
	case "mqtt", "tcp":
	case "mqtts", "ssl", "tls":
		b.secure, port = true, "8883"
	default:
		return broker{}, errURL
	}
	if u.Port() != "" {
		port = u.Port()
	}
	b.address = net.JoinHostPort(b.host, port)
	return b, nil
}

// secrets reads the files that are needed to log in.
func (c Config) secrets(b broker) (password string, secure *tls.Config, err error) {
	if c.PasswordFile != "" {
		if password, err = process.ReadSecret(c.PasswordFile); err != nil {
			return "", nil, fmt.Errorf("from-password-file: %w", err)
		}
	}
	if !b.secure {
		return password, nil, nil
	}
	secure = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: b.host}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return "", nil, fmt.Errorf("from-ca: %w", err)
		}
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(pem) {
			return "", nil, fmt.Errorf("from-ca: %s holds no certificate", c.CA)
		}
	}
	if c.Cert != "" {
		cert, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return "", nil, fmt.Errorf("from-cert: %w", err)
		}
		secure.Certificates = []tls.Certificate{cert}
	}
	return password, secure, nil
}

// checkFilter returns what is wrong with a topic filter, or nil.
func checkFilter(filter string) error {
	if filter == "" || len(filter) > maxName || filter[0] == '$' || strings.ContainsRune(filter, 0) {
		return fmt.Errorf("a topic has 1 to %d bytes and does not begin with $", maxName)
	}
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		if level == "#" && i == len(levels)-1 || level == "+" {
			continue
		}
		if strings.ContainsAny(level, "+#") {
			return errors.New("+ stands for a whole level, and # for all levels from there on, at the end")
		}
	}
	return nil
}

// matches reports whether a filter takes a topic.
func matches(filter, topic string) bool {
	for {
		f, restF, moreF := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, restT, moreT := strings.Cut(topic, "/")
		if f != "+" && f != t {
			return false
		}
		if !moreF || !moreT {
			return moreF == moreT || restF == "#"
		}
		filter, topic = restF, restT
	}
}
