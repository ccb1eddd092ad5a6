package no_cgo
