package view

import "time"

// FindingKind is why a sensor may not be believed.
type FindingKind string

// The kinds of findings.
const (
	// FindingSilent means that nothing comes although something is expected.
	FindingSilent FindingKind = "silent"
	// FindingUnreadable means that what comes cannot be read as a value of the sensor.
	FindingUnreadable FindingKind = "unreadable"
	// FindingStuck means that the value does not move as it did.
	FindingStuck FindingKind = "stuck"
	// FindingDrifting means that the value moves away slowly.
	FindingDrifting FindingKind = "drifting"
	// FindingRange means that a working sensor cannot give the value.
	FindingRange FindingKind = "range"
	// FindingClock means that the times of the readings are not those of their arrival.
	FindingClock FindingKind = "clock"
	// FindingBattery means that the battery is low.
	FindingBattery FindingKind = "battery"
	// FindingFlapping means that it goes back and forth between good and bad.
	FindingFlapping FindingKind = "flapping"
)

// FindingKinds are all kinds, those first that leave least to believe.
func FindingKinds() []FindingKind {
	return []FindingKind{
		FindingSilent, FindingUnreadable, FindingStuck, FindingRange, FindingClock, FindingDrifting, FindingFlapping, FindingBattery,
	}
}

// Words names the kind.
func (k FindingKind) Words() string {
	switch k {
	case FindingRange:
		return "out of valid range"
	case FindingClock:
		return "clock off"
	case FindingBattery:
		return "low battery"
	}
	return string(k)
}

// Finding is one reason not to believe a sensor.
type Finding struct {
	Kind FindingKind `json:"kind"`
	// Metric is empty if it is about the device.
	Metric string `json:"metric,omitempty"`
	// Since is from when on it holds, as far as is known; zero when that is not known.
	Since time.Time `json:"since,omitzero"`
	// Evidence says in words what was seen.
	Evidence string `json:"evidence"`
	// Link is the page that shows more.
	Link string `json:"link"`
}
