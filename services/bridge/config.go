package bridge

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"headwater/services/bridge/login"
	"headwater/services/bridge/topic"
	"headwater/services/internal/process"
	"headwater/streams"
)

// Config says what the bridge takes from devices, and from which.
type Config struct {
	Topics       []string        `name:"mqtt-topics" help:"Patterns of the topics of devices; {metric} may be left out when the payload names the metrics." default:"sensors/{site}/{device}/{metric},sensors/{site}/{device}" env:"HEADWATER_MQTT_TOPICS"`
	Anonymous    login.Anonymous `name:"mqtt-anonymous" help:"Which devices may connect without a password: loopback, any or none. A proxy on the machine of the MQTT listener makes all devices look like loopback." enum:"loopback,any,none" default:"loopback" env:"HEADWATER_MQTT_ANONYMOUS"`
	User         string          `name:"mqtt-user" help:"User with which a device may connect from anywhere." env:"HEADWATER_MQTT_USER"`
	PasswordFile string          `name:"mqtt-password-file" help:"File that holds the password of that user." type:"path" env:"HEADWATER_MQTT_PASSWORD_FILE"`
	MaxAge       time.Duration   `name:"mqtt-max-age" help:"A reading older than that on its arrival becomes a dead letter." default:"168h" env:"HEADWATER_MQTT_MAX_AGE"`
	MaxAhead     time.Duration   `name:"mqtt-max-ahead" help:"A reading that far ahead of its arrival becomes a dead letter." default:"5m" env:"HEADWATER_MQTT_MAX_AHEAD"`
	Step         time.Duration   `name:"mqtt-step" help:"How long the first of several readings waits for others to be stored with it, while nothing is being stored." default:"2ms" env:"HEADWATER_MQTT_STEP"`
	Memory       int64           `name:"mqtt-memory" help:"MiB of messages with QoS 0 that may wait to be stored, and as many of those with QoS 1 and 2. Beyond that the first are dropped and counted, and of the others the connections are closed, so that the devices send again." default:"128" env:"HEADWATER_MQTT_MEMORY"`
}

// Bounds of the configuration.
const (
	longestStep = 500 * time.Millisecond
	mostMemory  = 64 << 10 // MiB
)

// DefaultConfig returns the configuration of a bridge that nobody configured.
func DefaultConfig() Config { return process.Defaults[Config]() }

// Validate reports every problem of the configuration.
func (c Config) Validate() error {
	var problems []error
	if _, err := topic.New(c.Topics...); err != nil {
		problems = append(problems, fmt.Errorf("mqtt-topics: %w", err))
	}
	// The password itself is read when the bridge starts.
	if err := (login.Policy{Anonymous: c.Anonymous}).Validate(); err != nil {
		problems = append(problems, fmt.Errorf("mqtt-anonymous: %w", err))
	}
	if (c.User == "") != (c.PasswordFile == "") {
		problems = append(problems, errors.New("mqtt-user and mqtt-password-file belong together"))
	}
	if strings.HasPrefix(c.User, streams.UserPrefix) {
		problems = append(problems, fmt.Errorf("mqtt-user: names that begin with %s are for services", streams.UserPrefix))
	}
	for name, d := range map[string]time.Duration{"mqtt-max-age": c.MaxAge, "mqtt-max-ahead": c.MaxAhead} {
		if d <= 0 {
			problems = append(problems, fmt.Errorf("%s: %s is not longer than 0s", name, d))
		}
	}
	if c.Step <= 0 || c.Step > longestStep {
		problems = append(problems, fmt.Errorf("mqtt-step: %s is not longer than 0s and at most %s", c.Step, longestStep))
	}
	if c.Memory < 1 || c.Memory > mostMemory {
		problems = append(problems, fmt.Errorf("mqtt-memory: %d is not within 1 and %d", c.Memory, mostMemory))
	}
	return errors.Join(problems...)
}

// policy is who may connect, with the password read from its file.
func (c Config) policy() (login.Policy, error) {
	p := login.Policy{Anonymous: c.Anonymous, User: c.User}
	if c.PasswordFile == "" {
		return p, nil
	}
	var err error
	if p.Password, err = process.ReadSecret(c.PasswordFile); err != nil {
		return login.Policy{}, fmt.Errorf("password of the devices: %w", err)
	}
	if p.Password == "" {
		return login.Policy{}, fmt.Errorf("password of the devices: %s is empty", c.PasswordFile)
	}
	return p, nil
}
