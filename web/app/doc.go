// Package app is what all features of the dashboard share on the server: the
// routes and how they are served, the shell around each page, the answers of the
// API, and the reading of parameters and forms. It knows no feature.
package app
