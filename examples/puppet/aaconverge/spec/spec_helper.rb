# frozen_string_literal: true

require 'json'
require 'rspec-puppet'

MODULE = File.expand_path('..', __dir__)

RSpec.configure do |config|
  config.module_path = File.dirname(MODULE)
  # Else it puts a link to the module into itself.
  config.setup_fixtures = false
  config.strict_variables = true
  config.expect_with(:rspec) { |expectations| expectations.max_formatted_output_length = nil }
end
