#!/usr/bin/perl
# Health, readiness, metrics and debug pages tell the truth, to those who may ask.
use v5.36;
use Test::More;
plan skip_all => "being written";
