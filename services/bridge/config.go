package bridge

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"headwater/services/bridge/front"
	"headwater/services/bridge/login"
	"headwater/services/bridge/topic"
	"headwater/services/bridge/upstream"
	"headwater/services/decode"
	"headwater/services/internal/process"
	"headwater/streams"
)

// Config is what the bridge takes from devices, and from which.
type Config struct {
	Topics             []string        `name:"mqtt-topics" default:"sensors/{site}/{device}/{metric},sensors/{site}/{device}"`
	Anonymous          login.Anonymous `name:"mqtt-anonymous" enum:"loopback,any,none" default:"loopback"`
	User               string          `name:"mqtt-user" help:"User with which a device may connect from anywhere."`
	PasswordFile       string          `name:"mqtt-password-file" help:"File that holds the password of that user." type:"path"`
	Reader             string          `name:"mqtt-reader" help:"User of applications, which only subscribe, with QoS 0, from anywhere."`
	ReaderPasswordFile string          `name:"mqtt-reader-password-file" help:"File that holds the password of that user." type:"path"`
	MaxAge             time.Duration   `name:"mqtt-max-age" help:"A reading older than that on its arrival becomes a dead letter." default:"168h"`
	MaxAhead           time.Duration   `name:"mqtt-max-ahead" help:"A reading that far ahead of its arrival becomes a dead letter." default:"5m"`
	Step               time.Duration   `name:"mqtt-step" help:"A message of a device waits until no other came for that long, or 12 times as long while others keep coming, and is then stored together with them." default:"2ms"`
	Front              front.Config    `embed:""`
	Upstream           upstream.Config `embed:""`
	Memory             int64           `name:"mqtt-memory" default:"128"`
	DeviceRate         int             `name:"mqtt-device-rate" default:"5000"`
	NewSeries          int             `name:"mqtt-new-series" default:"5000"`
}

// FlagHelp returns the help that is too long for a tag, by field.
func (Config) FlagHelp() map[string]string {
	return map[string]string{
		"Topics": "Patterns of the topics of devices; {metric} may be left out when the payload names the metrics.",
		"Anonymous": "Which devices may connect without a password: loopback, any or none. A proxy on the machine of the " +
			"MQTT listener makes all devices look like loopback.",
		"Memory": "MiB of messages with QoS 0 that may wait to be stored, and as many of those with QoS 1 and 2. Beyond " +
			"that, messages with QoS 0 are dropped and counted, and for the others the connections are closed, so " +
			"that the devices send again.",
		"DeviceRate": "Readings a second that one device may send on average, with a burst of 20 s; beyond it the front reads " +
			"its connection more slowly, and nothing is lost. 0 sets no bound.",
		"NewSeries": "Metrics that one device may begin within a day; readings of others become dead letters. A device with no " +
			"more metrics than that is never refused. 0 sets no bound.",
	}
}

// Bounds of the configuration.
const (
	longestStep = 500 * time.Millisecond
	// stepsTogether is how many steps a message waits at most while others keep coming.
	stepsTogether = 12
	// enoughEach is how many messages for each lane are enough for a round: more of them
	// would hardly make it cheaper.
	enoughEach = 24
	mostMemory = 64 << 10 // MiB
)

// DefaultConfig returns the configuration without any flag.
func DefaultConfig() Config { return process.Defaults[Config]() }

// Validate reports every problem of the configuration.
func (c Config) Validate() error {
	var problems []error
	if _, err := topic.New(c.Topics...); err != nil {
		problems = append(problems, fmt.Errorf("mqtt-topics: %w", err))
	}
	// Run reads the passwords from their files.
	if err := (login.Policy{Anonymous: c.Anonymous}).Validate(); err != nil {
		problems = append(problems, fmt.Errorf("mqtt-anonymous: %w", err))
	}
	for _, l := range []struct{ flag, user, file string }{
		{"mqtt-user", c.User, c.PasswordFile}, {"mqtt-reader", c.Reader, c.ReaderPasswordFile},
	} {
		if (l.user == "") != (l.file == "") {
			problems = append(problems, fmt.Errorf("%s and its password file belong together", l.flag))
		}
		if strings.HasPrefix(l.user, streams.UserPrefix) {
			problems = append(problems, fmt.Errorf("%s: names that begin with %s are for services", l.flag, streams.UserPrefix))
		}
	}
	if c.User != "" && c.User == c.Reader {
		problems = append(problems, errors.New("mqtt-user and mqtt-reader must be different users"))
	}
	for name, d := range map[string]time.Duration{"mqtt-max-age": c.MaxAge, "mqtt-max-ahead": c.MaxAhead} {
		if d <= 0 {
			problems = append(problems, fmt.Errorf("%s: %s is not longer than 0s", name, d))
		}
	}
	if err := c.Front.Validate(); err != nil {
		problems = append(problems, err)
	}
	if err := c.Upstream.Validate(); err != nil {
		problems = append(problems, err)
	}
	if c.Step <= 0 || c.Step > longestStep {
		problems = append(problems, fmt.Errorf("mqtt-step: %s is not longer than 0s and at most %s", c.Step, longestStep))
	}
	if c.DeviceRate < 0 || c.NewSeries < 0 {
		problems = append(problems, errors.New("mqtt-device-rate, mqtt-new-series: must not be less than 0"))
	}
	if c.Memory < 1 || c.Memory > mostMemory {
		problems = append(problems, fmt.Errorf("mqtt-memory: %d is not within 1 and %d", c.Memory, mostMemory))
	}
	return errors.Join(problems...)
}

// Dangers returns the passwords that everybody tries first.
func (c Config) Dangers() (out []process.Danger, err error) {
	for _, l := range []struct{ user, file string }{{c.User, c.PasswordFile}, {c.Reader, c.ReaderPasswordFile}} {
		given, err := credential(l.user, l.file)
		if err != nil {
			return nil, err
		}
		if l.file != "" && process.Sample(given.Password, l.user) {
			out = append(out, process.Danger{
				What: "the password in " + l.file + " is one that everybody tries first",
				Do:   "put another one there, such as that of: openssl rand -hex 16",
			})
		}
	}
	return out, nil
}

// policy is who may connect, with the passwords read from their files.
func (c Config) policy() (p login.Policy, err error) {
	p.Anonymous = c.Anonymous
	p.Device, err = credential(c.User, c.PasswordFile)
	if err != nil {
		return login.Policy{}, fmt.Errorf("password of the devices: %w", err)
	}
	p.Reader, err = credential(c.Reader, c.ReaderPasswordFile)
	if err != nil {
		return login.Policy{}, fmt.Errorf("password of the reader: %w", err)
	}
	return p, nil
}

func credential(user, file string) (login.Credential, error) {
	if file == "" {
		return login.Credential{}, nil
	}
	password, err := process.ReadSecret(file)
	if err == nil && password == "" {
		err = fmt.Errorf("%s is empty", file)
	}
	return login.Credential{User: user, Password: password}, err
}

// limits is what a payload may be.
func (c Config) limits() decode.Limits {
	l := decode.DefaultLimits()
	l.Payload, l.Past, l.Future = streams.MaxDevicePayload, c.MaxAge, c.MaxAhead
	return l
}
