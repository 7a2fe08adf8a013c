package certs

import (
	"crypto/tls"
	"errors"
	"fmt"
)

// Modes of --tls. Without one, TLS is on if the files of a certificate are named.
const (
	Off   = "off"
	Files = "files"
	Auto  = "auto"
	ACME  = "acme"
)

// TLS of the MQTT listener, while TLS is on.
const (
	MQTTRequired = "required"
	MQTTOptional = "optional"
	MQTTOff      = "off"
)

// Config says where a process that has a data folder gets its certificate from, and what
// TLS means for devices.
type Config struct {
	Mode       string `name:"tls" enum:",auto,acme,files,off" default:"" placeholder:"MODE"`
	FileConfig `embed:""`
	ACMEConfig `embed:""`

	MQTT         string `name:"mqtt-tls" enum:"required,optional,off" default:"required"`
	ClientCA     string `name:"mqtt-client-ca" type:"path" placeholder:"FILE"`
	ClientNeeded bool   `name:"mqtt-client-required" help:"Refuse devices that show no certificate."`
}

// FlagHelp returns the help that is too long for a tag, by field.
func (Config) FlagHelp() map[string]string {
	return map[string]string{
		"Mode": "TLS for the dashboard, the API and MQTT, on the ports that they have anyway: auto (Headwater is its own " +
			"authority, kept in the data folder; the page /trust explains how phones, computers and devices come to trust " +
			"it), acme (a public authority such as Let's Encrypt, for the name of --acme-name), files (--tls-cert and --tls-key) or off. By default, files if they are named, else off.",
		"MQTT": "While TLS is on, MQTT takes TLS connections only (required), or those without TLS on the same port too " +
			"(optional, for devices that know no TLS), or none with TLS (off).",
		"ClientCA": "File of the authorities, in PEM, whose certificates of devices are accepted. With --tls auto its own " +
			"authority is accepted if no file is named.",
	}
}

// mode is the mode in force.
func (c Config) mode() string {
	if c.Mode != "" {
		return c.Mode
	}
	if c.FileConfig.On() {
		return Files
	}
	return Off
}

// On reports whether TLS is on.
func (c Config) On() bool { return c.mode() != Off }

// IsAuto reports whether Headwater is its own authority.
func (c Config) IsAuto() bool { return c.mode() == Auto }

// IsACME reports whether a public authority issues the certificate.
func (c Config) IsACME() bool { return c.mode() == ACME }

// Devices are the certificates of devices that are accepted.
func (c Config) Devices() Devices { return Devices{File: c.ClientCA, Required: c.ClientNeeded} }

// Validate reports every problem of the flags.
func (c Config) Validate() error {
	var errs []error
	mode := c.mode()
	if mode == Files && c.Cert == "" && c.Key == "" {
		errs = append(errs, errors.New("--tls files needs --tls-cert and --tls-key"))
	}
	if (mode == Auto || mode == ACME) && (c.Cert != "" || c.Key != "") {
		errs = append(errs, fmt.Errorf("--tls %s needs no files: leave --tls-cert and --tls-key out", mode))
	}
	if mode == ACME {
		errs = append(errs, c.problems()...)
	} else if c.Name != "" {
		errs = append(errs, errors.New("--acme-name needs --tls acme"))
	}
	if c.ClientNeeded && c.ClientCA == "" && mode != Auto {
		errs = append(errs, errors.New("--mqtt-client-required needs --mqtt-client-ca"))
	}
	if (c.ClientNeeded || c.ClientCA != "") && (mode == Off || c.MQTT == MQTTOff) {
		errs = append(errs, fmt.Errorf("certificates of devices need TLS: --tls is %s and --mqtt-tls %s", mode, c.MQTT))
	}
	return errors.Join(errs...)
}

// MQTTListener returns the configuration of the MQTT listener; nil means no TLS. Plain
// reports whether connections without TLS are taken as well. The source is nil while TLS
// is off.
func (c Config) MQTTListener(source *Source) (config *tls.Config, plain bool) {
	if source == nil || c.MQTT == MQTTOff {
		return nil, true
	}
	return source.MQTT(), c.MQTT == MQTTOptional
}
