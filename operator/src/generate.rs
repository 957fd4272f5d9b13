//! The CRDs as files: `crds/` for kubectl, and the same in the chart.

use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    #[error("form the YAML of {file}")]
    Form {
        file: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("write {0}")]
    Write(PathBuf, #[source] std::io::Error),
    #[error("{} not as the types say; run without --check: {}", .0.len(), list(.0))]
    Differs(Vec<PathBuf>),
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// File name and content, one per kind.
pub fn files() -> Result<Vec<(&'static str, String)>, GenerateError> {
    quartet_crds::all()
        .into_iter()
        .map(|(file, crd)| match quartet_crds::yaml(&crd) {
            Ok(yaml) => Ok((file, yaml)),
            Err(source) => Err(GenerateError::Form { file, source: source.into() }),
        })
        .collect()
}

/// Where a chart keeps them.
pub fn chart_folder(chart: &Path) -> PathBuf {
    chart.join("files").join("crds")
}

pub fn write(folder: &Path) -> Result<(), GenerateError> {
    std::fs::create_dir_all(folder).map_err(|error| GenerateError::Write(folder.to_owned(), error))?;
    for (file, yaml) in files()? {
        let path = folder.join(file);
        std::fs::write(&path, yaml).map_err(|error| GenerateError::Write(path, error))?;
    }
    Ok(())
}

/// Fails when a file is missing, differs, or is of no kind.
pub fn check(folders: &[PathBuf]) -> Result<(), GenerateError> {
    let files = files()?;
    let mut wrong = Vec::new();
    for folder in folders {
        for (file, yaml) in &files {
            let path = folder.join(file);
            if std::fs::read_to_string(&path).ok().as_ref() != Some(yaml) {
                wrong.push(path);
            }
        }
        let present = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        wrong.extend(present.filter(|path| {
            let is_yaml = path.extension().is_some_and(|extension| extension == "yaml");
            is_yaml && !files.iter().any(|(file, _)| path.file_name().is_some_and(|name| name == *file))
        }));
    }
    if wrong.is_empty() { Ok(()) } else { Err(GenerateError::Differs(wrong)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_passes_the_check_and_an_edit_or_a_leftover_fails_it() {
        let folder = tempfile::tempdir().unwrap();
        let crds = chart_folder(folder.path());
        assert!(check(std::slice::from_ref(&crds)).is_err());
        write(&crds).unwrap();
        check(std::slice::from_ref(&crds)).unwrap();

        let leftover = crds.join("gone.yaml");
        std::fs::write(&leftover, "kind: Gone").unwrap();
        assert!(check(std::slice::from_ref(&crds)).unwrap_err().to_string().contains("gone.yaml"));
        std::fs::remove_file(&leftover).unwrap();

        let (file, yaml) = files().unwrap().remove(0);
        std::fs::write(crds.join(file), yaml + "# edited\n").unwrap();
        assert!(check(std::slice::from_ref(&crds)).unwrap_err().to_string().contains(file));
    }
}
