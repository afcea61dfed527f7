# Copies the Python modules FROM a source tree TO a folder, and nothing that a build may have left among them.
file(COPY "${FROM}/" DESTINATION "${TO}" FILES_MATCHING PATTERN "*.py")
