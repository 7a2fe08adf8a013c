package view

import "time"

// Status is what every page shows besides its own content.
type Status struct {
	// Firing counts the firing alerts.
	Firing int
	// DeadLetters counts the dead letters.
	DeadLetters uint64
	// Notices list what is down, and how old the data is.
	Notices []Problem
	// Demo is set while devices of the demo report.
	Demo bool
}

// Problem is one thing that is wrong, for people.
type Problem struct {
	// Part names what has the problem: a stream, a service, "InfluxDB".
	Part string `json:"part"`
	Text string `json:"text"`
	// Since is when it began; zero when unknown.
	Since time.Time `json:"since,omitzero"`
}
